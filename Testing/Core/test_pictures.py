"""Pictures of a place: what is where on them, and which side of the patient it is."""

import base64
import io
import re
from collections.abc import Callable

import numpy as np
import pytest
from lopsided.pictures import Outlined, Pictures, View
from lopsided.volume import Geometry, Volume
from numpy.testing import assert_allclose
from PIL import Image

# The patient's sides in LPS.
SIDES = {"L": (1, 0, 0), "R": (-1, 0, 0), "P": (0, 1, 0), "A": (0, -1, 0), "S": (0, 0, 1), "I": (0, 0, -1)}
AWAY = np.array([7.0, -5.0, 4.0])  # mm to the left, front and top of what the pictures are centred on
# Axial, sagittal and coronal scans, and one that nobody makes: which axis of the patient runs along i, j and k.
SCANS = [
    np.eye(3)[[x, y, z]].T * sign
    for x, y, z, sign in ((0, 1, 2, -1), (1, 2, 0, 1), (0, 2, 1, 1), (2, 1, 0, (-1, 1, -1)))
]


@pytest.fixture(params=range(len(SCANS)))
def scan(request: pytest.FixtureRequest) -> Geometry:
    """90 mm of a head, around the origin."""
    spacing = np.array([1.0, 1.25, 1.5])
    size = np.round(90 / spacing).astype(int)
    direction = SCANS[request.param]
    origin = -direction @ ((size - 1) * spacing / 2)
    return Geometry(tuple(size.tolist()), tuple(spacing), tuple(origin), tuple(direction.ravel()))


def drawn(scan: Geometry, head: Callable[..., Volume]) -> list[View]:
    """Views around the origin, of a bright spot AWAY from it, outlined as annotated; a suggestion is as far on its other side."""
    points = scan.physical(np.stack(np.meshgrid(*map(np.arange, scan.shape), indexing="ij"), -1))
    outlined = Outlined(
        suggestion=np.linalg.norm(points + AWAY, axis=-1) < 8,
        others=np.zeros(scan.shape, bool),
        annotation=np.linalg.norm(points - AWAY, axis=-1) < 8,
    )
    return Pictures(head(scan, [(tuple(AWAY), 8.0)])).of((0.0, 0.0, 0.0), 10.0, outlined)


def grey(view: View) -> np.ndarray:
    """Its picture, 0 to 255 (row, column)."""
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(view.image.removeprefix("data:image/png;base64,")))))


def box(path: str) -> np.ndarray:
    """Of an outline: its least x, y and its greatest."""
    points = np.array([[float(v) for v in p.split(",")] for p in re.findall(r"[-\d.]+,[-\d.]+", path)])
    return np.stack([points.min(0), points.max(0)])


def middle(path: str) -> np.ndarray:
    """Of an outline's box: x, y."""
    return np.asarray(box(path).mean(0))


def extent(path: str) -> np.ndarray:
    """Of an outline's box: width, height."""
    return np.asarray(np.ptp(box(path), axis=0))


def test_every_side_is_where_its_letter_is(scan: Geometry, head: Callable[..., Volume]) -> None:
    views = drawn(scan, head)
    assert [view.letters for view in views] == ["RLAP", "RLSI", "APSI", "RLAP"]  # left, right, top, bottom
    for view in views:
        _, right, top, _ = (np.array(SIDES[letter]) for letter in view.letters)
        mm = 10 / view.bar  # of a pixel
        moved = np.array([right @ AWAY, -top @ AWAY]) / mm
        half = np.array([view.width, view.height]) / 2
        picture = grey(view)
        assert picture.shape == (view.height, view.width)
        rows, columns = np.nonzero(picture > 250)
        assert_allclose((columns.mean() + 0.5, rows.mean() + 0.5), half + moved, atol=1 / mm, err_msg=view.name)
        assert_allclose(middle(view.annotation), half + moved, atol=1 / mm, err_msg=view.name)
        assert_allclose(middle(view.suggestion), half - moved, atol=1 / mm, err_msg=view.name)
        assert not view.others


def test_sizes_are_in_millimetres(scan: Geometry, head: Callable[..., Volume]) -> None:
    *crops, whole = drawn(scan, head)
    assert all(view.bar == pytest.approx(10 * 192 / 64) and view.marker is None for view in crops)
    assert whole.bar == pytest.approx(10)
    assert_allclose((whole.width, whole.height), (90, 90), atol=2)
    assert whole.marker is not None
    assert_allclose(whole.marker, (whole.width / 2, whole.height / 2, 32), atol=0.01)


@pytest.mark.parametrize("spacing", [(0.4, 0.4, 0.4), (1.0, 1.0, 1.0), (0.45, 0.45, 5.0)])
@pytest.mark.parametrize("size", [(1, 1, 1), (2, 2, 2), (1, 2, 1)], ids=str)
def test_a_lesion_of_one_voxel_has_an_outline(
    size: tuple[int, int, int], spacing: tuple[float, float, float], head: Callable[..., Volume]
) -> None:
    """Also where the middle of it lies between voxels; and it is as large as its voxels."""
    shape = tuple(np.ceil(90 / np.array(spacing[::-1])).astype(int))
    scan = Geometry(shape[::-1], spacing, (-45.0, -45.0, -45.0), tuple(np.eye(3).ravel()))
    low = np.array(shape) // 2
    lesion = np.zeros(shape, bool)
    lesion[tuple(slice(a, a + n) for a, n in zip(low, size, strict=True))] = True
    centre = tuple(scan.physical(low + (np.array(size) - 1) / 2).tolist())
    views = Pictures(head(scan)).of(centre, 2.0, Outlined(lesion, lesion, lesion))
    for view, (right, down) in zip(views, ((0, 1), (0, 2), (1, 2), (0, 1)), strict=True):
        assert view.suggestion == view.others == view.annotation
        wanted = np.array([size[2 - axis] * spacing[axis] for axis in (right, down)])
        assert_allclose(extent(view.suggestion) * 10 / view.bar, wanted, atol=1.5 / view.bar, err_msg=view.name)


def test_the_marker_is_where_the_place_is(head: Callable[..., Volume], geometry: Callable[..., Geometry]) -> None:
    scan = geometry((60, 80, 50), origin=(0.0, 0.0, 0.0))
    nothing = np.zeros(scan.shape, bool)
    *_, whole = Pictures(head(scan)).of((41.0, 23.0, 12.0), 10.0, Outlined(nothing, nothing, nothing))
    assert whole.marker is not None
    assert_allclose(whole.marker[:2], (41, 23), atol=0.01)  # of 59 pixels between the middles of 60 voxels


def test_tissue_is_not_dark_beside_bright_vessels(head: Callable[..., Volume], oblique: Geometry) -> None:
    image = head(oblique)
    image.array[(image.array > 50) & (np.arange(image.array.shape[2]) % 12 == 0)] = 3000
    nothing = np.zeros(oblique.shape, bool)
    middle_lps = tuple(oblique.physical((np.array(oblique.shape) - 1) / 2).tolist())
    axial = grey(Pictures(image).of(middle_lps, 10.0, Outlined(nothing, nothing, nothing))[0])
    assert 60 < np.median(axial[56:136, 56:136]) < 120
