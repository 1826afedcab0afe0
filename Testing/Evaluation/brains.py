"""How much of the brain is searched, and how much else.

Usage: python Testing/Evaluation/brains.py IMAGE... [--labels LABELMAP]...; IMAGE: real skull-stripped scans, whose brain is
what is not padding. LABELMAP: FreeSurfer-style, drawn as full heads and as stripped ones in ten contrasts each. Neither
may have been trained on.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from lopsided.brain import SPACING_MM, find_brain
from lopsided.intensity import find_foreground
from lopsided.reading import read_volume
from lopsided.resampling import resample
from lopsided.volume import Geometry, Volume
from lopsided_training.anatomy import read_label_map
from lopsided_training.heads import draw_head
from rich.console import Console
from rich.table import Table


def main(images: list[Path], labels: Annotated[list[Path] | None, typer.Option()] = None) -> None:
    """Print a row an image, and a row a label map."""
    table = Table("scan", "brain found", "searched beside it, of the brain")
    for path in images:
        scan = read_volume(path)
        brain = scan.array != find_foreground(scan).padding
        table.add_row(f"{path.parent.name}/{path.name}", *measured(scan, brain))
    for path in labels or []:
        labels_of, tissue, _ = read_label_map(path)
        for number in range(10):
            image, brain = draw_head(labels_of, tissue, np.random.default_rng(number))
            k, j, i = image.shape
            grid = Geometry((i, j, k), (SPACING_MM,) * 3, (0.0, 0.0, 0.0), (1.0, 0, 0, 0, 1.0, 0, 0, 0, 1.0))
            kind = "a head" if image[~brain].mean() > 0.02 else "stripped"
            table.add_row(f"{path.name} {number}, {kind}", *measured(Volume(image, grid), brain))
    Console().print(table)


def measured(scan: Volume, brain: np.ndarray) -> tuple[str, str]:
    """The share of the brain that is found, and of what is searched beside it."""
    found = find_brain(scan)
    if found is None:
        return "no whole brain", "all"
    inside = resample(found, scan.geometry, nearest=True).array > 0
    return f"{(inside & brain).sum() / brain.sum():.3f}", f"{(inside & ~brain).sum() / brain.sum():.2f}"


if __name__ == "__main__":
    typer.run(main)
