"""What a team gives up by marking lesions coarsely instead of outlining them: one table, on studies with known truth.

Usage: python Testing/Benchmarks/coarse_marks.py DATASET [--seed 1] [--markdown FILE]; DATASET in nnU-Net's raw layout,
such as `lopsided-train simulate` writes. Its slices along k are taken for axial.

For each true lesion, the marks that a careful reader would draw become voxels, as drawn and snapped to the post-contrast
T1, and are compared with it. A hasty reader draws the same ones five times, but each point that they place is off by
1 mm (standard deviation, along each axis), and each size that they set by 15 %.
"""

import os
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from statistics import mean, median
from typing import Annotated

import numpy as np
import typer
from lopsided.dataset.inputs import outlined
from lopsided.dataset.stats import SIZES_MM, size_name
from lopsided.marks import BoxMark, Ellipsoid, Line, Mark, Point, crossed, rasterise, snap
from lopsided.reading import read_volume
from lopsided.regions import Region, measure
from lopsided.volume import Geometry, Vector, Volume
from lopsided_training.dataset import read_dataset
from rich.console import Console
from rich.table import Table

PLACE_MM, SIZE = 1.0, 0.15  # the hasty reader's standard deviations: of a point; of a size's logarithm
REPEATS = {"careful": 1, "hasty": 5}
MARKS = ("point", "line", "two lines", "box", "ellipsoid")
COLUMNS = ("reader", "mark", "longest diameter", "lesions", "Dice", "volume", "Dice ≥ 0.5, %", "overlap, %")
Ends = tuple[Vector, Vector]


@dataclass(frozen=True)
class Result:
    """A mark against its lesion. ``size``: the lesion's class. ``volume``: the mark's voxels over the lesion's."""

    reader: str
    mark: str
    size: str
    lesion: int
    snapped: bool
    dice: float
    volume: float


def careful(lesion: Region, geometry: Geometry) -> dict[str, Mark]:
    """Each kind of mark, as exact as its kind can be."""
    voxels = np.argwhere(lesion.mask) + [s.start for s in lesion.box]
    largest = lesion.box[0].start + int(lesion.mask.sum(axis=(1, 2)).argmax())
    along, across = diameters(voxels[voxels[:, 0] == largest], geometry)
    low, high = voxels.min(axis=0) - 0.5, voxels.max(axis=0) + 0.5
    middle, size = vector(geometry.physical((low + high) / 2)), vector((high - low)[::-1] * geometry.spacing)
    i, j, k = (vector(axis) for axis in geometry.axes.T)
    return {
        "point": Point(measure(lesion, geometry).centroid_lps, float(np.linalg.norm(np.subtract(*along)))),
        "line": Line(along),
        "two lines": Line(along, across),
        "box": BoxMark(middle, size, (i, j, k)),
        "ellipsoid": Ellipsoid(middle, size, (i, j, k)),
    }


def diameters(voxels: np.ndarray, geometry: Geometry) -> tuple[Ends, Ends]:
    """The longest diameter of the voxels (n, 3: k, j, i) of one slice, and the longest at right angles to it.

    Each is its two ends, LPS, mm. A voxel counts with its own width.
    """
    spacing = np.array(geometry.spacing[:2])
    plane = voxels[:, :0:-1] * spacing  # (n, 2): i, j, mm
    apart = plane[None] - plane[:, None]  # [a, b] from a to b
    first, last = divmod(int((apart**2).sum(-1).argmax()), len(plane))
    way = plane[last] - plane[first] if first != last else np.array([1.0, 0.0])
    way = way / np.linalg.norm(way)
    other = np.array([-way[1], way[0]])
    abreast = np.abs(apart @ way) <= spacing.min() / 2
    left, right = divmod(int(np.where(abreast, apart @ other, -1).argmax()), len(plane))

    def ends(a: int, b: int, direction: np.ndarray) -> Ends:
        width = (plane[b] - plane[a]) @ direction + np.linalg.norm(direction * spacing)
        middle = (plane[a] + plane[b]) / 2
        i, j = (np.stack([middle - width / 2 * direction, middle + width / 2 * direction]) / spacing).T
        one, two = geometry.physical(np.stack([np.full(2, voxels[0, 0]), j, i], axis=-1))
        return vector(one), vector(two)

    return ends(first, last, way), ends(left, right, other)


def hasty(mark: Mark, geometry: Geometry, rng: np.random.Generator) -> Mark:
    """The same mark, less well placed and sized. What is drawn in one slice stays in one, which may be another."""
    beside = rng.normal(0, PLACE_MM)

    def moved(point: Vector) -> Vector:
        return vector(point + geometry.axes @ np.append(rng.normal(0, PLACE_MM, 2), beside))

    def resized(size: float) -> float:
        return size * float(np.exp(rng.normal(0, SIZE)))

    if isinstance(mark, Point):
        return Point(moved(mark.centre_lps), resized(mark.diameter_mm))
    if isinstance(mark, Line):
        one, two = mark.ends_lps
        across = mark.across_lps and (moved(mark.across_lps[0]), moved(mark.across_lps[1]))
        return Line((moved(one), moved(two)), across)
    x, y, z = mark.size_mm
    return replace(mark, centre_lps=moved(mark.centre_lps), size_mm=(resized(x), resized(y), resized(z)))


def vector(values: np.ndarray) -> Vector:
    x, y, z = (float(v) for v in values)
    return x, y, z


def compare(lesion: Region, mark: Mark, image: Volume) -> Iterator[tuple[bool, float, float]]:
    """Whether snapped; Dice of the mark's voxels and the lesion's; the number of the mark's over the lesion's."""
    if isinstance(mark, Line) and mark.across_lps:  # two lines that do not cross are read as two lesions
        mark = crossed([Line(mark.ends_lps), Line(mark.across_lps)])[0]
    drawn = rasterise(mark, image.geometry)
    assert drawn, "no lesion is so near to the border"
    for snapped in (False, True):
        found = snap(drawn, image) if snapped else drawn
        boxes = list(zip(found.box, lesion.box, strict=True))
        common = [slice(max(a.start, b.start), max(a.start, b.start, min(a.stop, b.stop))) for a, b in boxes]
        here, there = (
            region.mask[
                tuple(slice(c.start - s.start, c.stop - s.start) for c, s in zip(common, region.box, strict=True))
            ]
            for region in (found, lesion)
        )
        size, true_size = int(found.mask.sum()), int(lesion.mask.sum())
        yield snapped, 2 * int((here & there).sum()) / (size + true_size), size / true_size


def results(dataset: Path, seed: int) -> list[Result]:
    """Every mark of every lesion."""
    rng = np.random.default_rng(seed)
    found: list[Result] = []
    number = 0
    for case in read_dataset(dataset):
        image = read_volume(case.images["t1c"])
        for lesion in outlined(case.label, image):
            number += 1
            size = size_name(measure(lesion.region, image.geometry).longest_diameter_mm)
            marks = careful(lesion.region, image.geometry)
            for name, (reader, times) in product(MARKS, REPEATS.items()):
                for _ in range(times):
                    mark = marks[name] if reader == "careful" else hasty(marks[name], image.geometry, rng)
                    compared = compare(lesion.region, mark, image)
                    found += [Result(reader, name, size, number, *values) for values in compared]
    return found


def rows(found: list[Result]) -> Iterator[tuple[str, ...]]:
    """``COLUMNS``; a pair is as drawn, and snapped. Dice and volume are medians."""
    sizes = [size_name(low) for low in SIZES_MM[:-1]]
    for reader, mark, size in product(REPEATS, MARKS, sizes):
        group = [r for r in found if (r.reader, r.mark, r.size) == (reader, mark, size)]
        if not group:
            continue
        pair = [[r for r in group if r.snapped == snapped] for snapped in (False, True)]
        yield (
            reader,
            mark,
            size,
            str(len({r.lesion for r in group})),
            " / ".join(f"{median(r.dice for r in one):.2f}" for one in pair),
            " / ".join(f"{median(r.volume for r in one):.2f}" for one in pair),
            " / ".join(f"{100 * mean(r.dice >= 0.5 for r in one):.0f}" for one in pair),
            " / ".join(f"{100 * mean(r.dice > 0 for r in one):.0f}" for one in pair),
        )


def milliseconds(seed: int) -> float:
    """Of a mark of 10 mm on 240 x 240 x 155 voxels of 1 mm: into voxels and snapped, median of 50."""
    rng = np.random.default_rng(seed)
    geometry = Geometry((240, 240, 155), (1, 1, 1), (0, 0, 0), (1.0, 0, 0, 0, 1, 0, 0, 0, 1))
    image = Volume(rng.normal(100, 10, geometry.shape).astype(np.float32), geometry)
    times = []
    for place in rng.uniform(20, 130, (50, 3)):
        lesion = rasterise(Point(vector(place), 10), geometry)
        assert lesion
        image.array[lesion.box][lesion.mask] = 200
        start = time.perf_counter()
        drawn = rasterise(Point(vector(place + 1), 10), geometry)
        assert drawn
        snap(drawn, image)
        times.append(time.perf_counter() - start)
    return 1000 * median(times)


def main(
    dataset: Path,
    seed: Annotated[int, typer.Option(help="Of the hasty reader.")] = 1,
    markdown: Annotated[Path | None, typer.Option(help="Write the table there, too.")] = None,
) -> None:
    """Coarse marks against the truth of DATASET."""
    start = time.perf_counter()
    found = results(dataset, seed)
    table = Table(*COLUMNS, title=f"{dataset.name}, seed {seed}: as drawn / snapped")
    content = list(rows(found))
    for row in content:
        table.add_row(*row)
    Console(width=110).print(table)
    print(f"{len({r.lesion for r in found})} lesions, {time.perf_counter() - start:.0f} s, {os.cpu_count()} cores")
    print(f"one mark into voxels and snapped, 240 x 240 x 155: {milliseconds(seed):.1f} ms")
    if markdown:
        lines = [COLUMNS, ("---",) * len(COLUMNS), *content]
        markdown.write_text("".join(f"| {' | '.join(line)} |\n" for line in lines), encoding="utf-8")


if __name__ == "__main__":
    typer.run(main)
