"""How long a radiologist waits: one table, by the real process, real MRML and the off-screen panel."""

import argparse
import json
import os
import platform
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "Widget"))
from offscreen import new_logic, new_panel, until  # isort: split

import numpy as np
import SimpleITK as sitk
import slicer
import slicer.util
import slicer_standin
from lopsided.segmentation import Segment, segmentation_image
from lopsided.volume import Geometry
from rich.console import Console
from rich.table import Table

from LopsidedSeg import RESOURCES

MANY = 500


def seconds(action: Callable[[], Any], done: Callable[[], bool] = lambda: True) -> float:
    """Until ``action`` has returned and it is ``done``."""
    start = time.perf_counter()
    action()
    until(done, 600)
    return time.perf_counter() - start


def searches(files: list[Path]) -> dict[str, float]:
    """Click to list, and what is around it."""
    slicer_standin.clear()
    for sequence, file in zip(("t1c", "t1", "t2", "flair"), files, strict=False):
        slicer.util.loadVolume(str(file)).SetName(f"Case {sequence}")
    return {**cold(), **warm()}


def cold() -> dict[str, float]:
    """Nothing was started ahead."""
    panel = new_panel(new_logic())
    panel.logic.warmUp = lambda: None
    panel.enter()
    found = {"click to list, cold": seconds(panel.ui.suggestButton.click, lambda: not panel.logic.busy)}
    panel.cleanup()
    return found


def warm() -> dict[str, float]:
    """The process was started when the module was opened."""
    panel = new_panel(new_logic())
    ui, logic, worker = panel.ui, panel.logic, panel.logic._worker
    found = {"opening the module, to a process that is ready": seconds(panel.enter, lambda: bool(worker._ready))}
    time.sleep(3)  # the model is loaded while the reader looks at the inputs
    for state in ("warm", "the same images again"):
        found[f"click to list, {state}"] = seconds(ui.suggestButton.click, lambda: not logic.busy)
    reference = logic.getParameterNode().reference
    slicer.util.arrayFromVolume(reference).flat[0] += 1  # other images
    slicer.util.arrayFromVolumeModified(reference)
    ui.suggestButton.click()
    until(lambda: ui.statusLabel.text.startswith("Searching"), 600)
    found["cancel, in the middle of the search"] = seconds(ui.suggestButton.click)
    panel.cleanup()
    return found


def many() -> dict[str, float]:
    """A list of ``MANY`` suggestions on 240 x 240 x 155 voxels."""
    slicer_standin.clear()
    rng, labels, candidates = np.random.default_rng(1), np.zeros((155, 240, 240), np.uint16), []
    corners = [(k, j, i) for k in range(5, 150, 14) for j in range(5, 235, 23) for i in range(5, 235, 40)]
    for n, (k, j, i) in enumerate(corners[:MANY], 1):
        labels[k - 2 : k + 3, j - 2 : j + 3, i - 2 : i + 3] = n
        places = {"centroid_lps": [i, j, k], "centroid_ras": [-i, -j, k], "distance_to_annotated_mm": 3.0}
        sizes = {"longest_diameter_mm": 5.0, "volume_mm3": 125.0}
        candidates.append({"rank": n, "confidence": float(1 - n / (MANY + 1)), **sizes, **places})
    geometry = Geometry((240, 240, 155), (1, 1, 1), (0, 0, 0), (1.0, 0, 0, 0, 1, 0, 0, 0, 1))
    segments = [Segment(f"Suggestion_{n}", f"{n}", n, (1, 0.5, 0)) for n in range(1, MANY + 1)]
    volume = slicer.util.addVolumeFromArray(rng.integers(0, 99, labels.shape).astype(np.int16), np.eye(4), "T1c")
    with tempfile.TemporaryDirectory() as name:
        sitk.WriteImage(segmentation_image(labels, geometry, segments), str(Path(name) / "suggestions.seg.nrrd"), True)
        model = {"name": "none", "digest": "0" * 64, "threshold": 0.5, "operating_points": []}
        text = json.dumps({"candidates": candidates, "model": model, "threshold": 0.0})
        (Path(name) / "candidates.json").write_text(text, encoding="utf-8")
        panel, nodes = new_panel(new_logic()), []
        panel.enter()
        duration = seconds(lambda: nodes.append(panel.logic.loadSuggestions(Path(name), volume)))
    found = {f"{MANY} suggestions: into the scene, with surfaces": duration}
    panel.logic.getParameterNode().reference = volume
    panel.logic.getParameterNode().suggestions = nodes[0]
    slider = panel.ui.sensitivitySlider
    for what, values in (("a leap", (60, 20, 90, 40, 100, 50, 70)), ("a step", range(40, 60))):
        times = [seconds(partial(setattr, slider, "value", value)) for value in values]
        found[f"{MANY} suggestions: {what} of the slider, median"] = median(times)
        found[f"{MANY} suggestions: {what} of the slider, worst"] = max(times)
    found[f"{MANY} suggestions: to the next one"] = seconds(lambda: panel.reviewPanel.onStep(1))
    found[f"{MANY} suggestions: accept"] = seconds(panel.ui.acceptButton.click)
    found[f"{MANY} suggestions: undo"] = seconds(panel.ui.undoButton.click)
    panel.cleanup()
    return found


def main(files: list[Path]) -> None:
    """Both, in one table."""
    files = files or [RESOURCES / "SampleStudy" / f"{name}.nii.gz" for name in ("t1c", "t1", "t2", "flair")]
    size = "x".join(str(n) for n in sitk.ReadImage(str(files[0])).GetSize())
    title = f"{files[0].name}, {size}, {len(files)} sequences; {platform.processor() or platform.machine()}"
    table = Table("what", "seconds", title=f"{title}, {os.cpu_count()} cores")
    for what, duration in {**searches(files), **many()}.items():
        table.add_row(what, f"{duration:.3f}" if duration < 1 else f"{duration:.1f}")
    Console(width=110).print(table)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("files", nargs="*", type=Path, help="T1C [T1 T2 FLAIR]; the sample study where none is given")
    main(parser.parse_args().files)
