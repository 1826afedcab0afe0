"""Finding the brain: in heads of any contrast, and not where there is none."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from lopsided import brain
from lopsided.brain import SPACING_MM, coarse, find_brain
from lopsided.errors import InputError
from lopsided.intensity import find_foreground
from lopsided.model import InputSequence, InputSpec
from lopsided.reading import read_volume
from lopsided.resampling import covered, resample
from lopsided.resources import resource_folder
from lopsided.study import Study, network_inputs
from lopsided.volume import Geometry, Volume
from safetensors.numpy import save
from scipy.ndimage import binary_erosion, distance_transform_edt

SPEC = InputSpec(sequences=(InputSequence(name="t1c", required=True),), spacing_mm=(1.5,) * 3, clip=(-5.0, 10.0))


@pytest.fixture(scope="module")
def sample() -> Volume:
    return read_volume(resource_folder() / "SampleStudy" / "t1c.nii.gz")


def in_a_head(brain: Volume, inside: np.ndarray) -> Volume:
    """With fluid, a shell of dark bone and one of bright scalp around it, and a neck."""
    room = np.pad(brain.array.astype(np.float32), ((40, 20), (20, 20), (20, 20)))
    mask = np.pad(inside, ((40, 20), (20, 20), (20, 20)))
    away = distance_transform_edt(~mask)
    tissue = float(np.median(brain.array[inside]))
    room[(away > 0) & (away <= 3)] = 0.3 * tissue
    room[(away > 3) & (away <= 9)] = 0.1 * tissue
    room[(away > 9) & (away <= 15)] = 2.0 * tissue
    k, j, i = room.shape
    neck = (np.hypot(*np.meshgrid(np.arange(j) - j / 2, np.arange(i) - i / 2, indexing="ij")) < 45)[None]
    neck = np.broadcast_to(neck, room.shape) & (np.arange(k) < 38)[:, None, None] & (away > 15)
    room[neck] = 0.8 * tissue
    g = brain.geometry
    corner = g.physical(np.array([-40, -20, -20]))
    x, y, z = (float(v) for v in corner)
    return Volume(room, Geometry((i, j, k), g.spacing, (x, y, z), g.direction), "head")


def share(part: np.ndarray, whole: np.ndarray) -> float:
    return float((part & whole).sum() / whole.sum())


def test_a_stripped_brain_is_kept_and_a_head_is_not(sample: Volume) -> None:
    inside = sample.array > 0
    deeper = binary_erosion(inside, iterations=5)  # the outermost may be dura that its strip left
    kept = find_brain(sample)
    assert kept is not None
    assert share(resample(kept, sample.geometry, nearest=True).array > 0, deeper) > 0.97
    head = in_a_head(sample, inside)
    found = find_brain(head)
    assert found is not None
    assert share(resample(found, sample.geometry, nearest=True).array > 0, deeper) > 0.97
    assert found.array.sum() * SPACING_MM**3 < 1.5 * inside.sum() * np.prod(sample.geometry.spacing)


def test_padding_is_not_searched_and_changes_nothing(sample: Volume, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    monkeypatch.setattr(
        brain, "_logits", lambda array, device, real=brain._logits: seen.append(array) or real(array, device)
    )
    plain = find_brain(sample)
    room = np.pad(sample.array, ((40, 50), (160, 30), (20, 190)))
    (k, j, i), g = room.shape, sample.geometry
    x, y, z = (float(v) for v in g.physical(np.array([-40, -160, -20])))
    padded = find_brain(Volume(room, Geometry((i, j, k), g.spacing, (x, y, z), g.direction), "padded"))
    assert plain is not None
    assert padded is not None
    assert seen[1].size < 1.5 * seen[0].size
    there, here = (resample(found, g, nearest=True).array > 0 for found in (padded, plain))
    assert share(there, here) > 0.98
    assert share(here, there) > 0.98


@pytest.mark.parametrize(("outside", "around"), [(0.0, -1024.0), (-4.0, 0.0), (-4.0, 1000.0)])
def test_room_of_another_value_around_a_stripped_brain_changes_nothing(
    sample: Volume, outside: float, around: float
) -> None:
    """As where a z-scored image is moved to a grid with room around it, which is filled with zeros."""
    inside = sample.array > 0
    tissue = sample.array[inside]
    scored = np.where(inside, (sample.array - tissue.mean()) / tissue.std(), outside).astype(np.float32)
    g = sample.geometry
    x, y, z = (float(v) for v in g.physical(np.array([-9, -9, -9])))
    wider = Geometry(tuple(n + 18 for n in g.size), g.spacing, (x, y, z), g.direction)
    room = Volume(np.pad(scored, 9, constant_values=around), wider, "in room")
    found, before = find_brain(room), find_brain(Volume(scored, g))
    assert found is not None
    assert before is not None
    there, here = (resample(b, g, nearest=True).array > 0 for b in (found, before))
    assert share(there, here) > 0.98
    assert share(here, there) > 0.98
    seen, plain = (
        network_inputs(Study(volume), SPEC, [SPEC.spacing_mm], 8, before)[0] for volume in (room, Volume(scored, g))
    )
    centre = g.physical(np.argwhere(inside).mean(axis=0))
    for volume in (seen, plain):
        k, j, i = np.rint(volume.geometry.index(centre)).astype(int)
        around = volume.array[0, k - 20 : k + 20, j - 20 : j + 20, i - 20 : i + 20]
        assert float(np.median(around)) == pytest.approx(0, abs=0.5)


def test_it_does_not_depend_on_gain_or_storage(sample: Volume) -> None:
    plain = find_brain(sample)
    flipped = Geometry(
        sample.geometry.size,
        sample.geometry.spacing,
        tuple(float(v) for v in sample.geometry.physical(np.array(sample.array.shape) - 1)),
        tuple(-v for v in sample.geometry.direction),
    )
    other = find_brain(Volume(sample.array[::-1, ::-1, ::-1].astype(np.float32) * 0.01 - 3, flipped, "z-scored"))
    assert plain is not None
    assert other is not None
    assert share(other.array > 0, plain.array > 0) > 0.99


def more_air(head: Volume) -> Volume:
    """To 330 mm, measured as the rest of it."""
    around = [max(0, (330 - n) // 2) for n in head.array.shape]
    room = np.random.default_rng(1).normal(0, 5, [n + 2 * a for n, a in zip(head.array.shape, around, strict=True)])
    room[tuple(slice(a, a + n) for a, n in zip(around, head.array.shape, strict=True))] = head.array
    return in_room(head, room.astype(np.float32), around)


def empty_slices(head: Volume) -> Volume:
    """Of another value, at one end."""
    return in_room(head, np.pad(head.array, ((12, 0), (0, 0), (0, 0)), constant_values=-1000), [12, 0, 0])


def in_room(head: Volume, room: np.ndarray, before: list[int]) -> Volume:
    x, y, z = (float(v) for v in head.geometry.physical(-np.array(before)))
    k, j, i = room.shape
    return Volume(room, Geometry((i, j, k), head.geometry.spacing, (x, y, z), head.geometry.direction), "in room")


def broken_voxel(head: Volume) -> Volume:
    """Where less than 240 mm are filled up, with what is dark: with that voxel air would look grey."""
    assert min(head.array.shape) < 0.9 * brain.SIDE * SPACING_MM
    array = head.array.copy()
    array[5, 5, 5] = -32768
    return replace(head, array=array)


def average_air(head: Volume) -> Volume:
    """As where only what is imaged is z-scored, and the rest stays 0."""
    air = distance_transform_edt(head.array < 60) > 12
    array = (head.array - head.array[~air].mean()) / head.array[~air].std()
    return replace(head, array=np.where(air, 0, array).astype(np.float32))


def tiny_values(head: Volume) -> Volume:
    return replace(head, array=head.array * np.float32(1e-12))


@pytest.mark.parametrize("change", [more_air, empty_slices, broken_voxel, average_air, tiny_values])
def test_what_no_reader_would_notice_moves_no_brain(sample: Volume, change: Callable[[Volume], Volume]) -> None:
    head = in_a_head(sample, sample.array > 0)
    head.array[:] += np.random.default_rng(0).normal(0, 5, head.array.shape)  # air is measured, no padding
    assert alike(find_brain(head), find_brain(change(head)), head.geometry) > 0.95


@pytest.mark.parametrize("slices", [1, 20])
def test_empty_slices_are_no_part_of_a_stripped_brain(sample: Volume, slices: int) -> None:
    room = np.pad(sample.array, ((slices, 0), (0, 0), (0, 0)), constant_values=-1000)
    longer = in_room(sample, room, [slices, 0, 0])
    found, before = find_brain(longer), find_brain(sample)
    assert alike(before, found, sample.geometry) > 0.98
    assert find_foreground(longer, found).scale == pytest.approx(find_foreground(sample, before).scale, rel=0.03)


def alike(one: Volume | None, other: Volume | None, grid: Geometry) -> float:
    """Dice."""
    assert one is not None
    assert other is not None
    a, b = (resample(each, grid, nearest=True).array > 0 for each in (one, other))
    return float(2 * (a & b).sum() / (a.sum() + b.sum()))


def test_a_part_of_a_head_is_no_brain(sample: Volume) -> None:
    """Of a few centimetres in a field of view of 240 mm almost all is dark."""
    box = slice(70, 110), slice(80, 120), slice(70, 110)
    array = np.full(sample.array.shape, 300, np.float32)
    array[box] = sample.array[box] + 300.1
    assert find_brain(replace(sample, array=array)) is None
    for value in (0, 100):
        assert find_brain(replace(sample, array=np.full(sample.array.shape, value, np.float32))) is None


def test_what_is_no_whole_brain_is_left_to_the_patient_s_outline(
    head: Callable[..., Volume], geometry: Callable[..., Geometry]
) -> None:
    assert find_brain(head(geometry((60, 60, 60)))) is None


def test_outside_of_the_brain_it_is_dark(sample: Volume) -> None:
    head = in_a_head(sample, sample.array > 0)
    found = find_brain(head)
    seen = network_inputs(Study(head), SPEC, [SPEC.spacing_mm], 8, found)[0]
    whole = network_inputs(Study(head), SPEC, [SPEC.spacing_mm], 8)[0]
    assert np.prod(seen.array.shape) < 0.7 * np.prod(whole.array.shape)
    assert found is not None
    outside = ~covered(found, seen.geometry)
    assert len(np.unique(seen.array[0][outside])) == 1
    bare = find_foreground(sample, find_brain(sample))
    clothed = find_foreground(head, found)
    assert clothed.centre == pytest.approx(bare.centre, rel=0.03)
    assert clothed.scale == pytest.approx(bare.scale, rel=0.25)


@pytest.mark.parametrize("spacing", [0.4, 1.0, 1.2, 2.0])
def test_rounding_in_a_header_decides_nothing(
    head: Callable[..., Volume], geometry: Callable[..., Geometry], spacing: float
) -> None:
    """Not which voxels are looked at, nor what they are measured in: another scale would list other candidates."""
    inner = head(geometry((60, 64, 56), (spacing,) * 3)).array
    around = Volume(np.pad(inner, 40), geometry((140, 144, 136), (spacing,) * 3))
    bare = np.random.default_rng(0).normal(0, 3, around.array.shape).astype(np.float32)  # measured air, no padding

    def seen(factor: float) -> list[object]:
        grid = replace(around.geometry, spacing=(spacing * factor,) * 3)
        found: list[object] = [brain._imaged(Volume(around.array, grid))[0].geometry.size]
        for array in (around.array, np.where(around.array > 0, around.array, bare)):
            volume = Volume(array, grid)
            foreground = find_foreground(volume)
            found += [foreground.low.tolist(), foreground.high.tolist(), foreground.centre, foreground.scale]
            found += [n.geometry.size for n in network_inputs(Study(volume), SPEC, [(2.0,) * 3], 8)]
        return found

    assert seen(1 - 1e-9) == seen(1.0) == seen(1 + 1e-9)


@pytest.mark.parametrize(
    "content",
    [None, b"", b"0" * 99, save({"stem": np.zeros(3)})],
    ids=["absent", "empty", "damaged", "another network's"],
)
def test_damaged_weights_are_said(
    sample: Volume, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes | None
) -> None:
    path = tmp_path / "brain.safetensors"
    if content is not None:
        path.write_bytes(content)
    monkeypatch.setattr(brain, "weights_file", lambda: path)
    brain._network.cache_clear()
    with pytest.raises(InputError, match=r"^.*brain\.safetensors: not the weights .* install LopsidedSeg again$"):
        find_brain(sample)


def test_the_network_sees_the_same_whatever_the_voxels(sample: Volume) -> None:
    seen = coarse(sample)
    assert seen.geometry.spacing == (SPACING_MM,) * 3
    assert 0 <= seen.array.min() < seen.array.max() <= 2
