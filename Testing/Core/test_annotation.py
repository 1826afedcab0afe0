"""The annotation on the reference's grid: nothing annotated is lost, and a wrong one is refused."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from lopsided.annotation import label_names, read_annotation
from lopsided.errors import InputError
from lopsided.segmentation import Segment, segmentation_image
from lopsided.volume import Geometry, Volume, to_sitk


@pytest.fixture
def reference(head: Callable[..., Volume], geometry: Callable[..., Geometry]) -> Volume:
    return head(geometry((40, 44, 36)))


def write(labels: np.ndarray, grid: Geometry, path: Path) -> Path:
    sitk.WriteImage(to_sitk(labels, grid), str(path), useCompression=True)
    return path


def test_labels_are_all_lesions_unless_some_are_named(reference: Volume, tmp_path: Path) -> None:
    labels = np.zeros(reference.array.shape, np.float32)  # many tools write label maps as float
    labels[5:8, 5:8, 5:8], labels[15:20, 15:20, 15:20] = 1, 4
    path = write(labels, reference.geometry, tmp_path / "labels.nii.gz")
    both = read_annotation(path, reference)
    assert both.labels == {"label 1": 27.0, "label 4": 125.0}
    assert both.mask.sum() == 152
    one = read_annotation(path, reference, ("4",))
    assert one.labels == {"label 4": 125.0}
    assert one.left_out == ("label 1",)
    assert one.mask.sum() == 125
    with pytest.raises(InputError, match=r"has no label '7'; it has 'label 1' \(1\), 'label 4' \(4\): give"):
        read_annotation(path, reference, ("7", "4"))
    assert read_annotation(path, reference, ("7", "4"), lacking=True).labels == {"label 4": 125.0}
    nothing = read_annotation(path, reference, ("7",), lacking=True)
    assert (nothing.mask.any(), nothing.labels, nothing.left_out) == (False, {}, ("label 1", "label 4"))


def test_a_slicer_segmentation_keeps_its_names(reference: Volume, tmp_path: Path) -> None:
    labels = np.zeros(reference.array.shape, np.uint8)
    labels[5:8, 5:8, 5:8], labels[15:20, 15:20, 15:20] = 1, 2
    image = segmentation_image(
        labels, reference.geometry, [Segment("a", "Left frontal", 1, (1, 0, 0)), Segment("b", "Oedema", 2, (0, 1, 0))]
    )
    path = tmp_path / "s.seg.nrrd"
    sitk.WriteImage(image, str(path))
    assert read_annotation(path, reference).labels == {"Left frontal": 27.0, "Oedema": 125.0}
    assert read_annotation(path, reference, ("Left frontal",)).mask.sum() == 27


def test_an_accent_of_a_segments_name_may_be_encoded_either_way(reference: Volume, tmp_path: Path) -> None:
    labels = np.zeros(reference.array.shape, np.uint8)
    labels[5:8, 5:8, 5:8] = 1
    for name in ("Me\u0301tastase", "M\xe9tastase "):
        sitk.WriteImage(
            segmentation_image(labels, reference.geometry, [Segment("a", name, 1, (1, 0, 0))]),
            str(tmp_path / "s.seg.nrrd"),
        )
        for asked in ("Me\u0301tastase", " M\xe9tastase"):
            assert read_annotation(tmp_path / "s.seg.nrrd", reference, label_names(asked)).mask.sum() == 27


def test_a_number_is_a_segment_of_that_name_or_else_a_value(reference: Volume, tmp_path: Path) -> None:
    labels = np.zeros(reference.array.shape, np.uint8)
    labels[5:8, 5:8, 5:8], labels[15:20, 15:20, 15:20], labels[25:27, 25:27, 25:27] = 1, 2, 3
    named = [Segment(name, name, n, (1, 0, 0)) for n, name in enumerate(("1", "Suggested", "2"), start=1)]
    sitk.WriteImage(segmentation_image(labels, reference.geometry, named), str(tmp_path / "s.seg.nrrd"))
    for wanted, names in {"2": ["2"], "3": ["2"], "1": ["1"]}.items():
        assert list(read_annotation(tmp_path / "s.seg.nrrd", reference, (wanted,)).labels) == names


def test_overlapping_segments_are_layers(reference: Volume, tmp_path: Path) -> None:
    first, second = (np.zeros(reference.array.shape, np.uint8) for _ in range(2))
    first[5:10, 5:10, 5:10], second[8:12, 8:12, 8:12] = 1, 1
    image = sitk.Compose([to_sitk(a, reference.geometry) for a in (first, second)])
    for n, name in enumerate(("One", "Two")):
        image.SetMetaData(f"Segment{n}_Name", name)
        image.SetMetaData(f"Segment{n}_LabelValue", "1")
        image.SetMetaData(f"Segment{n}_Layer", str(n))
    sitk.WriteImage(image, str(tmp_path / "s.seg.nrrd"))
    got = read_annotation(tmp_path / "s.seg.nrrd", reference)
    assert got.labels == {"One": 125.0, "Two": 64.0}
    assert got.mask.sum() == 125 + 64 - 8


@pytest.mark.parametrize("spacing", [0.31, 1.0, 2.9])
def test_another_grid_loses_no_lesion(reference: Volume, tmp_path: Path, spacing: float) -> None:
    """One annotated voxel in the patient, on a tilted grid that is finer or coarser."""
    where = reference.geometry.physical(np.array([17, 20, 19]))
    angle = 0.3
    direction = (np.cos(angle), -np.sin(angle), 0.0, np.sin(angle), np.cos(angle), 0.0, 0.0, 0.0, 1.0)
    n = int(30 / spacing)
    axes = np.reshape(direction, (3, 3))
    origin = where - axes @ (np.full(3, n // 2) * spacing)
    grid = Geometry((n, n, n), (spacing,) * 3, (origin[0], origin[1], origin[2]), direction)
    labels = np.zeros(grid.shape, np.uint8)
    labels[n // 2, n // 2, n // 2] = 1
    got = read_annotation(write(labels, grid, tmp_path / "a.nrrd"), reference)
    found = np.argwhere(got.mask)
    assert got.mask[17, 20, 19]
    assert np.abs(found - (17, 20, 19)).max() <= max(1, np.ceil(spacing))
    assert got.labels == {"label 1": pytest.approx(spacing**3)}


def test_what_reaches_beyond_the_reference_is_kept_within_it(reference: Volume, tmp_path: Path) -> None:
    """On finer voxels, of which a small lesion may be no voxel's nearest."""
    grid = Geometry((200, 90, 80), (0.4, 1.0, 1.0), (-60.0, -40.0, -40.0), reference.geometry.direction)
    labels = np.zeros(grid.shape, np.uint8)
    inside = reference.geometry.physical(np.array([17, 20, 10.4]))
    labels[tuple(np.round(grid.index(inside)).astype(int))] = 1
    labels[2, 40, 100] = labels[40, 3, 100] = labels[40, 40, 5] = 1
    got = read_annotation(write(labels, grid, tmp_path / "a.nrrd"), reference)
    assert np.argwhere(got.mask).tolist() == [[17, 20, 10]]
    assert got.beyond == 3


def test_lesions_that_the_edge_of_the_image_cuts_are_counted(reference: Volume, tmp_path: Path) -> None:
    g = reference.geometry
    grid = Geometry((g.size[0] + 10, *g.size[1:]), g.spacing, g.origin, g.direction)
    labels = np.zeros(grid.shape, np.uint8)
    labels[5:8, 5:8, 5:8], labels[15:18, 15:18, 38:42], labels[25:28, 25:28, 45:47] = 1, 2, 1
    path = write(labels, grid, tmp_path / "a.nrrd")
    assert [read_annotation(path, reference, wanted).beyond for wanted in ((), ("1",), ("2",))] == [2, 1, 1]
    assert read_annotation(path, Volume(labels, grid)).beyond == 0


def test_a_lesion_that_touches_itself_at_corners_alone_is_counted_once_beyond_the_edge(
    reference: Volume, tmp_path: Path
) -> None:
    g = reference.geometry
    grid = Geometry((g.size[0] + 10, *g.size[1:]), g.spacing, g.origin, g.direction)
    labels = np.zeros(grid.shape, np.uint8)
    labels[(20, 21, 22), (20, 21, 22), (39, 40, 41)] = 1
    assert read_annotation(write(labels, grid, tmp_path / "a.nrrd"), reference).beyond == 1


@pytest.mark.parametrize(("at", "beyond"), [(-0.6, 1), (-0.4, 0), (39.4, 0), (39.6, 1)])
def test_the_image_ends_where_its_outermost_voxels_do(
    reference: Volume, tmp_path: Path, at: float, beyond: int
) -> None:
    """Half a voxel beyond their centres."""
    g = reference.geometry
    first = g.physical(np.array([0, 0, -1]))
    grid = Geometry((220, *g.size[1:]), (g.spacing[0] / 5, *g.spacing[1:]), (first[0], first[1], first[2]), g.direction)
    labels = np.zeros(grid.shape, np.uint8)
    labels[17, 20, 100] = labels[17, 20, round((at + 1) * 5)] = 1
    got = read_annotation(write(labels, grid, tmp_path / "a.nrrd"), reference)
    assert (got.beyond, int(got.mask.sum())) == (beyond, 2 - beyond)


def test_an_empty_annotation_is_one(reference: Volume, tmp_path: Path) -> None:
    """Whichever labels are lesions."""
    path = write(np.zeros(reference.array.shape, np.uint8), reference.geometry, tmp_path / "e.nrrd")
    for wanted in ((), ("1",)):
        got = read_annotation(path, reference, wanted)
        assert not got.mask.any()
        assert got.labels == {}


def test_one_of_another_study_is_refused_with_both_geometries(reference: Volume, tmp_path: Path) -> None:
    g = reference.geometry
    far = Geometry(g.size, g.spacing, (500.0, 0.0, 0.0), g.direction)
    with pytest.raises(InputError, match=r"does not overlap head \(40×44×36 voxels.*L 500…539.*against.*L -20…19"):
        read_annotation(write(np.ones(g.shape, np.uint8), far, tmp_path / "far.nrrd"), reference)
    beside = Geometry(g.size, g.spacing, (g.origin[0] + 30, *g.origin[1:]), g.direction)
    labels = np.zeros(g.shape, np.uint8)
    labels[10, 10, 30] = 1
    with pytest.raises(
        InputError,
        match=r"beside\.nrrd: no annotated voxel lies within head \(they are in 1×1×1 .*L 40…40.* it is 40×44×36 .*L -20…19"
        r".*\); give the annotation of this study, or an image of",
    ):
        read_annotation(write(labels, beside, tmp_path / "beside.nrrd"), reference)


def test_an_image_is_no_annotation(reference: Volume, tmp_path: Path) -> None:
    for value in (0.5, np.nan, np.inf):
        image = np.zeros(reference.array.shape, np.float32)
        image[5, 5, 5] = value
        path = write(image, reference.geometry, tmp_path / "image.nrrd")
        with pytest.raises(InputError, match="values between whole numbers; give a label map"):
            read_annotation(path, reference)
    numbers = np.arange(reference.array.size, dtype=np.int16).reshape(reference.array.shape) % 1000
    path = write(numbers, reference.geometry, tmp_path / "numbers.nii.gz")
    with pytest.raises(InputError, match="has 999 values, more than 200, and looks like an image; give a label map"):
        read_annotation(path, reference)
