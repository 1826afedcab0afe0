"""What goes wrong around a search: the module is usable afterwards, and no decision is lost."""

from __future__ import annotations

import os
import random
import signal
from pathlib import Path
from typing import Any

import pytest
import qt
import slicer
import slicer.util
from lopsided.review import Status
from offscreen import Heard, open_panel, until
from PySide6.QtTest import QTest


def test_a_process_killed_at_any_moment(logic: Any, worker: Any, volume: Any, fake: Any, tmp_path: Path) -> None:
    """Thirty times: a sentence, a scene as before, the decisions as before, and the next search works."""
    logic.settings.folder = tmp_path
    reference = volume("T1c")
    kept = logic.suggest(reference)
    logic.review(kept).decide("Suggestion_1", Status.REJECTED)
    worker.stop()
    when = random.Random(1)
    killed = 0
    for _ in range(30):
        worker.command = fake("slow")
        before = slicer.mrmlScene.GetNumberOfNodes()
        heard = Heard()
        logic.begin(heard.callbacks, reference)
        QTest.qWait(when.randint(0, 500))
        pid = worker._process.processId()
        if logic.busy and pid:
            os.kill(pid, getattr(signal, "SIGKILL", signal.SIGTERM))
        until(lambda: not logic.busy)
        if heard.errors:
            killed += 1
            assert heard.errors[0].startswith("The computing process ended unexpectedly.")
            assert slicer.mrmlScene.GetNumberOfNodes() == before
        for node in heard.done:
            slicer.mrmlScene.RemoveNode(node)
        assert logic.review(kept).opinion("Suggestion_1").status is Status.REJECTED
        worker.stop()
        worker.command = fake("done")
        assert logic.suggest(reference).GetSegmentation().GetNumberOfSegments() == 2
        worker.stop()
    assert killed >= 10
    [log] = tmp_path.glob("*.jsonl")
    assert log.read_text(encoding="utf-8").count('"decide"') == 1


@pytest.mark.parametrize("which", ["flair", "annotation"])
def test_an_input_removed_during_the_search(
    logic: Any, worker: Any, volume: Any, annotation: Any, fake: Any, which: str
) -> None:
    """The search goes on with what it was given; the next one is not harmed."""
    worker.command = fake("slow")
    nodes = {"reference": volume("T1c"), "flair": volume("FLAIR")}
    nodes["annotation"] = annotation(nodes["reference"])
    heard = Heard()
    logic.begin(heard.callbacks, **nodes)
    slicer.mrmlScene.RemoveNode(nodes[which])
    until(lambda: not logic.busy)
    assert heard.errors == []
    [node] = heard.done
    assert node.GetSegmentation().GetNumberOfSegments() == 2
    assert logic.suggest(volume("another")).GetSegmentation().GetNumberOfSegments() == 2


@pytest.mark.parametrize("window", ["#f0f0f0", "#353535"])
def test_what_went_wrong_can_be_read_in_light_and_dark_windows(logic: Any, window: str) -> None:
    """At the contrast that WCAG asks of text, 4.5."""

    def luminance(colour: str) -> float:
        parts = [int(colour[n : n + 2], 16) / 255 for n in (1, 3, 5)]
        red, green, blue = (p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts)
        return 0.2126 * red + 0.7152 * green + 0.0722 * blue

    with open_panel(logic) as panel:
        panel.parent.palette = qt.QPalette(qt.QColor(window))
        panel.onError("It failed.")
        colour = panel.ui.statusLabel.styleSheet.split("color: ")[1][:7]
    darker, lighter = sorted((luminance(window), luminance(colour)))
    assert (lighter + 0.05) / (darker + 0.05) >= 4.5
