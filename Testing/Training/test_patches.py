"""Patches and their augmentation."""

from dataclasses import replace
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from lopsided.dataset.records import ANNOTATED, NEGATIVE, NOT_LOOKED_AT
from lopsided.volume import Geometry, Volume
from lopsided_training import patches
from lopsided_training.augment import Change, ChannelChange, changed, draw_change, mirrored
from lopsided_training.config import FitConfig, PatchConfig
from lopsided_training.dataset import read_dataset
from lopsided_training.filled import fillings
from lopsided_training.matching import sphere_diameter
from lopsided_training.paste import Copy, paste, shrunk
from lopsided_training.patches import PreparedCase, centres_of, draw, emphasis, prepare
from prepared import prepared_case
from scipy import ndimage
from scipy.spatial.transform import Rotation


def test_patches_are_repeatable_and_withhold_optional_sequences() -> None:
    rng = np.random.default_rng(0)
    lesion = np.zeros((40, 40, 40), bool)
    lesion[20:23, 20:23, 20:23] = True
    optional = np.array([False, True, False, True])
    case = prepared_case(rng.normal(size=(4, 40, 40, 40)), lesion, trusted=~lesion, optional=optional)
    config = PatchConfig(size=16, on_lesion=1.0, on_bright=0.0, drop=0.5)
    first, second = (draw([case], config, 8, np.random.default_rng(7)) for _ in range(2))
    assert torch.equal(first.images, second.images)
    assert first.changes == second.changes
    ready = first.ready(torch.device("cpu"))
    assert torch.equal(ready.images, second.ready(torch.device("cpu")).images)
    assert first.labels.flatten(1).any(1).all(), "every patch around a lesion has it"
    assert not (first.labels * first.trust).any()
    missing = ~ready.images.flatten(2).any(2)
    assert not missing[:, ::2].any(), "what is required is never withheld"
    assert 0 < missing[:, 1::2].float().mean() < 1
    cut = {name: getattr(case, name)[:10] for name in ("lesion", "trusted", "hidden")}
    small = replace(case, image=case.image[:, :10], centres=np.zeros((0, 3)), **cut)
    assert draw([small], config, 1, rng).images.shape == (1, 4, 16, 16, 16)


def make_case(size: int, diameter: float, amplitude: float) -> PreparedCase:
    """One ball in its middle, brighter by ``amplitude``, in noise of 0.1."""
    grid = np.stack(np.meshgrid(*[np.arange(size)] * 3, indexing="ij"), -1)
    lesion = np.linalg.norm(grid - size // 2, axis=-1) <= diameter / 2
    image = np.random.default_rng(0).normal(0, 0.1, (1, size, size, size)) + amplitude * lesion
    return prepared_case(image, lesion)


def test_where_a_study_is_smaller_than_a_patch_what_is_repeated_of_a_lesion_is_lesion() -> None:
    lesion = np.zeros((20, 32, 32), bool)
    lesion[17:, 14:18, 14:18] = True
    image = (4 * lesion[None]).astype(np.float16)
    case = replace(make_case(20, 1, 0), image=image, lesion=lesion, trusted=~lesion, hidden=lesion)
    batch = draw([case], PatchConfig(size=32, perturb=False), 4, np.random.default_rng(0))
    bright = batch.images > 1
    assert bright.sum() > 4 * lesion.sum()
    for mask, expected in ((batch.labels, bright), (batch.trust, ~bright), (batch.hidden, bright)):
        assert torch.equal(mask, expected)


def test_some_patches_are_drawn_around_what_is_bright() -> None:
    case = make_case(90, 5, 4.0)
    assert len(case.bright)
    assert case.lesion[tuple(case.bright.T)].all()
    case = replace(case, centres=np.zeros((0, 3)))  # as if nobody had annotated it
    shares = []
    for on_bright in (0.0, 1.0):
        config = PatchConfig(size=16, on_lesion=0.0, on_bright=on_bright, drop=0.0, perturb=False)
        batch = draw([case], config, 40, np.random.default_rng(1))
        shares.append(float((batch.images > 2).flatten(1).any(1).float().mean()))
    assert shares[0] < 0.2
    assert shares[1] == 1
    with pytest.raises(ValueError, match="together are at most 1"):
        PatchConfig(on_lesion=0.8, on_bright=0.3)


def test_a_patch_on_a_lesion_is_of_a_case_that_has_one() -> None:
    """However few these are; and so are what is bright, and the lesions that are pasted, in coarse voxels too."""
    ball = make_case(36, 5, 1.9)
    nothing = replace(
        ball, image=np.zeros_like(ball.image), lesion=np.zeros_like(ball.lesion), centres=np.zeros((0, 3))
    )
    cases = [nothing, ball, nothing, nothing, replace(ball, image=2 * ball.image), *[nothing] * 15]
    plain = PatchConfig(size=16, on_lesion=0.0, on_bright=0.0, drop=0.0, perturb=False, small=0.0)

    def share(config: PatchConfig, of: list[PreparedCase] = cases) -> float:
        drawn = draw(of, config, 200, np.random.default_rng(0))
        return float((drawn.images > 1).flatten(1).any(1).float().mean())

    assert share(plain) < 0.1
    assert share(plain.model_copy(update={"on_lesion": 0.5})) == pytest.approx(0.5, abs=0.1)
    assert share(plain.model_copy(update={"on_bright": 0.5})) == pytest.approx(0.5, abs=0.1)
    assert share(plain.model_copy(update={"paste": 0.5})) > 0.35
    both = plain.model_copy(update={"on_lesion": 0.5, "on_bright": 0.5, "paste": 1.0})
    assert share(both, [nothing]) == 0, "there is none"
    drawn = draw(cases, plain.model_copy(update={"on_lesion": 1.0}), 200, np.random.default_rng(0))
    twice = float((drawn.images > 2.8).flatten(1).any(1).float().mean())
    assert twice == pytest.approx(0.5, abs=0.1), "each of them is as likely"


def test_patches_lie_anywhere_and_a_lesion_anywhere_in_them() -> None:
    """The image says where each patch is from."""
    lesion = np.zeros((60, 60, 60), bool)
    lesion[30, 30, 30] = True
    image = np.indices(lesion.shape).astype(np.float16)
    case = prepared_case(image, lesion, trusted=~lesion, hidden=lesion)
    for on_lesion, least, most in ((0.0, 0, 44), (1.0, 16, 29)):  # low corners of patches of 16 voxels
        config = PatchConfig(size=16, on_lesion=on_lesion, on_bright=0.0, drop=0.0, perturb=False)
        low = draw([case], config, 80, np.random.default_rng(0)).images.flatten(2).min(2).values
        assert ((low >= least) & (low <= most)).all()
        assert all((np.histogram(of_axis, 3, (least, most))[0] > 8).all() for of_axis in low.T.numpy()), on_lesion


def test_a_copy_is_smaller_as_bright_and_in_the_label() -> None:
    case, rng = make_case(64, 12, 1.9), np.random.default_rng(2)
    copies = [shrunk(case.image, case.lesion, case.centres[0], rng) for _ in range(30)]
    sizes = [float(sphere_diameter(copy.mask.sum())) for copy in copies if copy]
    assert len(sizes) == 30
    assert 1.5 < min(sizes) < 3.5
    assert 5 < max(sizes) < 8.5
    assert all(0.8 < copy.added.max() < 2.5 for copy in copies if copy)
    image, lesion = np.zeros((1, 32, 32, 32), np.float32), np.zeros((32, 32, 32), bool)
    copy = copies[0]
    assert copy
    assert paste(image, lesion, copy, rng)
    assert lesion.sum() == copy.mask.sum()
    assert image[0][lesion].mean() > 0.5 > np.abs(image[0][~lesion]).mean()
    assert not paste(np.full_like(image, 9), np.zeros_like(lesion), copy, rng), "that is a vessel"
    at_the_edge = case.image[:, :40], case.lesion[:40]
    assert shrunk(*at_the_edge, case.centres[0], rng) is None
    config = PatchConfig(size=24, on_lesion=0.0, on_bright=0.0, paste=1.0, drop=0.0, perturb=False)
    with_copies = draw([case], config, 20, np.random.default_rng(1)).labels.flatten(1).any(1).float().mean()
    without = draw([case], config.model_copy(update={"paste": 0.0}), 20, np.random.default_rng(1))
    assert with_copies > 0.9 > without.labels.flatten(1).any(1).float().mean()


@pytest.mark.parametrize("diameter", [9.8, 19.8, 27.8])
def test_copies_are_of_the_sizes_that_are_drawn(diameter: float) -> None:
    """Evenly, by their logarithms, from two voxels to seven."""
    case, rng = make_case(64, diameter, 1.9), np.random.default_rng(0)
    copies = [shrunk(case.image, case.lesion, np.array((32, 32, 32)), rng) for _ in range(60)]
    sizes = np.array([float(sphere_diameter(copy.mask.sum())) for copy in copies if copy])
    assert len(sizes) == 60
    assert sizes.min() > 1.5, "more than a voxel"
    assert np.log(sizes).mean() == pytest.approx(np.log(14) / 2, abs=0.15)


def test_a_copy_is_of_one_lesion_and_of_what_it_adds() -> None:
    """Not of the tissue under it, nor of a lesion near by; it is not larger than the lesion, and not of a part of it."""
    places = np.moveaxis(np.indices((64, 64, 64)), 0, -1)
    shell = np.abs(np.linalg.norm(places - (32, 32, 32), axis=-1) - 5) <= 1
    other = np.linalg.norm(places - (32, 32, 45), axis=-1) <= 3

    def copy(image: np.ndarray, lesion: np.ndarray, centre: tuple[int, int, int] = (32, 32, 32)) -> Copy | None:
        return shrunk(image[None].astype(np.float16), lesion, np.array(centre), np.random.default_rng(0))

    alone = copy(1.5 * shell, shell)
    assert alone
    for found in (copy(1.5 * shell - 1, shell), copy(1.5 * shell + 3.0 * other, shell | other)):
        assert found
        assert np.allclose(found.added, alone.added, atol=0.01)
        assert np.array_equal(found.mask, alone.mask)
    voxel = np.zeros_like(shell)
    voxel[40, 40, 40] = True
    of_one = copy(1.5 * voxel, voxel, (40, 40, 40))
    assert of_one
    assert of_one.mask.sum() == 1
    assert copy(1.5 * other, other, (32, 32, 45))
    for axis, gap, far in product(range(3), (2, 3), (False, True)):
        x, y, z = np.roll((60 - gap if far else gap + 3, 32, 32), axis).tolist()
        near = np.linalg.norm(places - (x, y, z), axis=-1) <= 3
        assert (copy(1.5 * near, near, (x, y, z)) is None) == (gap < 3), "at an edge"
    corners = np.zeros_like(shell)
    corners[::63, ::63, ::63] = True
    assert copy(1.5 * corners, corners) is None, "too large a ring"
    long = np.zeros_like(shell)
    long[32, 32, 30:60] = True
    assert copy(1.5 * long, long) is None, "too large"


@pytest.mark.parametrize(
    ("filled", "value"), [(np.s_[:], 9), (np.s_[:], -9), (np.s_[::2], 9)], ids=["vessel", "air", "vessels"]
)
def test_nothing_is_pasted_but_into_tissue(filled: slice, value: float) -> None:
    copy = Copy(np.ones((1, 4, 4, 4), np.float32), np.ones((4, 4, 4), bool))
    image, lesion = np.zeros((1, 16, 16, 16), np.float32), np.zeros((16, 16, 16), bool)
    image[0, filled] = value
    assert not paste(image, lesion, copy, np.random.default_rng(0))
    assert not lesion.any()


def test_nothing_is_pasted_over_a_lesion_nor_where_it_does_not_fit() -> None:
    copy = Copy(np.ones((1, 4, 4, 4), np.float32), np.ones((4, 4, 4), bool))
    image, lesion = np.zeros((1, 16, 16, 16), np.float32), np.zeros((16, 16, 16), bool)
    lesion[::4, ::4, ::4] = True
    assert not paste(image, lesion, copy, np.random.default_rng(0))
    assert not paste(image[:, :4], np.zeros((4, 16, 16), bool), copy, np.random.default_rng(0))
    assert not image.any()


def test_a_change_is_a_function_of_what_was_drawn() -> None:
    image = torch.from_numpy(np.random.default_rng(3).normal(size=(1, 3, 6, 7, 8)).astype(np.float32))
    as_it_is = ChannelChange(1.0, 0.0, 1.0, None, 0.0, 0)
    assert torch.equal(changed(image, [Change((), (as_it_is,) * 3)]), image)
    other = changed(image, [Change((), (as_it_is, None, ChannelChange(2.0, 0.5, 1.0, None, 0.0, 0)))])[0]
    assert torch.equal(other[0], image[0, 0])
    assert not other[1].any()
    assert torch.allclose(other[2], 2 * image[0, 2] + 0.5)
    noisy = Change((), (ChannelChange(1.0, 0.0, 1.2, (0.5, 0.5, 0.5), 0.3, 9), as_it_is, as_it_is))
    assert torch.equal(changed(image, [noisy]), changed(image, [noisy]))
    assert (changed(image, [noisy]) - image)[0, 0].std() > 0.2
    assert np.array_equal(mirrored(image.numpy()[0], Change((0, 2), ())), image.numpy()[0, :, ::-1, :, ::-1])


def test_blur_is_a_gaussian() -> None:
    image = np.random.default_rng(4).normal(size=(12, 13, 14)).astype(np.float32)
    change = Change((), (ChannelChange(1.0, 0.0, 1.0, (0.9, 0.5, 0.3), 0.0, 0),))
    blurred = changed(torch.from_numpy(image)[None, None], [change])[0, 0].numpy()
    assert np.allclose(blurred, ndimage.gaussian_filter(image, (0.9, 0.5, 0.3), mode="nearest"), atol=0.02)


def test_drawn_changes_repeat_and_vary() -> None:
    present, optional = np.array([True, True, False]), np.array([False, True, True])
    drawn = [draw_change(present, optional, 0.5, True, np.random.default_rng(n)) for n in range(40)]
    assert drawn[3] == draw_change(present, optional, 0.5, True, np.random.default_rng(3))
    assert len(set(drawn)) == 40
    assert all(change.channels[0] is not None and change.channels[2] is None for change in drawn)
    assert 0 < sum(change.channels[1] is None for change in drawn) < 40
    plain = draw_change(present, optional, 0.0, False, np.random.default_rng(1))
    image = np.random.default_rng(2).normal(size=(1, 3, 4, 5, 6)).astype(np.float32) * present[:, None, None, None]
    assert np.array_equal(changed(torch.from_numpy(image), [plain]), image)


def test_small_lesions_weigh_more() -> None:
    """By diameter; four times at most, and what is no lesion weighs as it did."""
    cases = [make_case(40, diameter, 4.0) for diameter in (2, 5, 30)]
    config = PatchConfig(size=40, on_lesion=1.0, on_bright=0.0, small=1.5)
    weights = [emphasis(case.lesion, 1.5, 1.0) for case in cases]
    across = [float(sphere_diameter(case.lesion.sum())) for case in cases]
    wanted = np.array([(5.5 / d) ** 1.5 for d in across[:2]] + [0.25], np.float16)
    assert [w[20, 20, 20] for w in weights] == pytest.approx(wanted)
    one = np.zeros((4, 4, 4), bool)
    one[2, 2, 2] = True
    assert emphasis(one, 1.5, 1.0).max() == 4
    assert all((w[~case.lesion] == 1).all() for w, case in zip(weights, cases, strict=True))
    assert (emphasis(np.zeros((4, 4, 4), bool), 1.5, 1.0) == 1).all()
    batch = draw(cases[:1], config, 3, np.random.default_rng(0))
    assert batch.emphasis is not None
    assert torch.equal(batch.emphasis > 1, batch.labels), "as they lie after mirroring"
    assert draw(cases[:1], config.model_copy(update={"small": 0.0}), 1, np.random.default_rng(0)).emphasis is None


@pytest.mark.parametrize("name", ["../../up", "{elsewhere}/x", "a/b\\c:d", "x" * 300])
def test_whatever_a_case_is_called_its_patches_are_in_the_cache(
    dataset: Path, tmp_path: Path, small: FitConfig, name: str
) -> None:
    cache = tmp_path / "run" / "cache"
    case = replace(read_dataset(dataset)[0], name=name.format(elsewhere=tmp_path / "elsewhere"))
    (seen,) = prepare([case], small, cache)
    assert seen.name == case.name
    assert len([path for path in cache.iterdir() if (path / "centres.npy").exists()]) == 1
    assert {path.name for path in tmp_path.iterdir()} == {"run"}


@pytest.mark.parametrize("scale", [1.25, 1.0, 0.65])
def test_no_lesion_falls_between_the_networks_voxels(
    dataset: Path, tmp_path: Path, small: FitConfig, scale: float
) -> None:
    """A lesion of one voxel is in the label, and no voxel that somebody marked or left out becomes a trusted negative."""
    case = read_dataset(dataset)[0]
    image = sitk.ReadImage(str(case.label))
    labels = np.zeros(image.GetSize()[::-1], np.uint8)
    middle = np.array(labels.shape) // 2
    marked = np.array(list(product((-11, -4, 3, 10), repeat=3))) + middle
    left_out = np.array(list(product((-8, -1, 6), repeat=3))) + middle
    labels[tuple(marked.T)] = 1
    trust = np.where(labels, ANNOTATED, NEGATIVE).astype(np.uint8)
    trust[tuple(left_out.T)] = NOT_LOOKED_AT
    for name, array in (("label", labels), ("trust", trust)):
        written = sitk.GetImageFromArray(array)
        written.CopyInformation(image)
        sitk.WriteImage(written, str(tmp_path / f"{name}.nii.gz"))
    case = replace(case, label=tmp_path / "label.nii.gz", trust=tmp_path / "trust.nii.gz")
    (seen,) = prepare([case], small.model_copy(update={"scales": (scale,)}), tmp_path / "cache")
    assert len(seen.centres) == len(centres_of(seen.lesion)) == len(marked)
    assert seen.lesion.sum() == len(marked) * max(1, round(1 / scale**3))
    assert 0.9 < seen.trusted.mean() < 1
    between = np.diff(np.unique(np.round(seen.centres, 3), axis=0)[:, 0]).max()
    assert between == pytest.approx(7 / scale, abs=1.2)
    assert len(centres_of(~seen.trusted)) >= len(marked) + len(left_out)


@pytest.mark.parametrize("scale", [1.25, 0.65])
def test_what_lies_in_the_dark_around_the_brain_is_no_lesion(
    dataset: Path, tmp_path: Path, small: FitConfig, monkeypatch: pytest.MonkeyPatch, scale: float
) -> None:
    """Of a metastasis of the skull the network sees nothing, and could learn that darkness is one."""
    case = read_dataset(dataset)[0]
    reference = case.study().reference
    labels = np.zeros(reference.array.shape, np.uint8)
    size, middle = np.array(labels.shape), np.array(labels.shape) // 2
    brain = np.linalg.norm((np.argwhere(labels == 0) - middle) * reference.geometry.spacing[::-1], axis=-1) < 24
    brain = brain.reshape(labels.shape)
    first, last = np.flatnonzero(brain[middle[0], middle[1]])[[0, -1]]  # of the brain, along i

    def ball(i: int, radius: int) -> None:
        places = np.stack(np.indices(labels.shape), -1) - (middle[0], middle[1], i)
        labels[np.linalg.norm(places, axis=-1) <= radius] = 1

    ball(middle[2], 3)
    ball(int(last) - 2, 4)  # mostly in the brain
    ball(int(first) - 2, 2)  # mostly not
    ball(int(size[2]) - 2, 1)  # beyond the network's grid
    written = sitk.GetImageFromArray(labels)
    written.CopyInformation(sitk.ReadImage(str(case.label)))
    sitk.WriteImage(written, str(tmp_path / "label.nii.gz"))
    case = replace(case, label=tmp_path / "label.nii.gz", trust=None)
    monkeypatch.setattr(patches, "find_brain", lambda volume: Volume(brain.astype(np.uint8), reference.geometry))
    (seen,) = prepare([case], small.model_copy(update={"scales": (scale,)}), tmp_path / "cache")
    dark = seen.image[0].min()
    assert (seen.image[0] == dark).any()
    assert not (seen.image[0][seen.lesion] == dark).any()
    assert (len(seen.centres), len(centres_of(seen.lesion)), seen.left_out) == (2, 2, 2)
    assert not seen.trusted.any(), "nothing says that somebody looked"


@pytest.mark.parametrize("scale", [1.25, 0.65])
def test_a_rejected_suggestion_stays_trusted_where_nobody_looked(
    dataset: Path, tmp_path: Path, small: FitConfig, scale: float
) -> None:
    case = read_dataset(dataset)[0]
    image = sitk.ReadImage(str(case.label))
    shape, spacing = np.array(image.GetSize()[::-1]), np.array(image.GetSpacing()[::-1])
    places = np.moveaxis(np.indices(shape), 0, -1) * spacing
    trust = np.zeros(shape, np.uint8)
    for across, far in ((3, -12), (4, 0), (5, 12)):
        trust[np.linalg.norm(places - shape * spacing / 2 - [0, 0, far], axis=-1) <= across / 2] = NEGATIVE
    for name, array in (("label", np.zeros_like(trust)), ("trust", trust)):
        written = sitk.GetImageFromArray(array)
        written.CopyInformation(image)
        sitk.WriteImage(written, str(tmp_path / f"{name}.nii.gz"))
    case = replace(case, label=tmp_path / "label.nii.gz", trust=tmp_path / "trust.nii.gz")
    (seen,) = prepare([case], small.model_copy(update={"scales": (scale,)}), tmp_path / "cache")
    were, kept = (
        np.bincount(ndimage.label(mask, np.ones((3, 3, 3)))[0].flat)[1:] * np.prod(voxel)
        for mask, voxel in ((trust == NEGATIVE, spacing), (seen.trusted, seen.spacing_mm))
    )
    assert len(were) == 3
    assert np.sort(kept) == pytest.approx(np.sort(were), rel=0.2)


@pytest.mark.parametrize("elsewhere", [NEGATIVE, NOT_LOOKED_AT])
@pytest.mark.parametrize("side", [1.25, 0.65])
def test_what_an_annotated_lesion_touches_is_no_trusted_negative(side: float, elsewhere: int) -> None:
    """One is in the label alone, the other in what readers annotated; around each, somebody said no."""
    scan = Geometry((64, 32, 32), (1.0, 1.0, 1.0), (0.0, 0.0, 0.0), (1.0, 0, 0, 0, 1.0, 0, 0, 0, 1.0))
    size = (round(64 / side), round(32 / side), round(32 / side))
    grid = replace(scan, size=size, spacing=(side, side, side), origin=(0.1, 0.2, 0.3))

    def away(on: Geometry) -> list[np.ndarray]:
        points = on.physical(np.moveaxis(np.indices(on.shape), 0, -1))
        return [np.linalg.norm(points - (x, 15, 15), axis=-1) for x in (16, 48)]

    first, second = away(scan)
    trust = np.where(np.minimum(first, second) <= 10, NEGATIVE, elsewhere).astype(np.uint8)
    trust[second <= 4] = ANNOTATED
    trusted = patches._trusted(Volume(first <= 4, scan), Volume(trust, scan), grid)
    for distance in away(grid):
        assert not trusted[distance < 4.1].any(), "what it fills a part of too"
        assert trusted[(distance > 4 + 1.5 * side) & (distance < 10 - 1.5 * side)].all()


def test_a_lesion_stays_where_it_is_in_the_patient() -> None:
    """Of an oblique scan with thick slices, on a grid of another orientation."""
    turned = tuple(Rotation.from_euler("xyz", (20, -30, 10), degrees=True).as_matrix().ravel().tolist())
    scan = Geometry((40, 36, 14), (0.9, 1.1, 3.0), (-30.0, 12.0, 5.0), turned)
    x, y, z = scan.physical(np.array(scan.shape) / 2) - 40
    grid = Geometry((64, 80, 100), (1.25, 1.0, 0.8), (x, y, z), (1.0, 0, 0, 0, 1.0, 0, 0, 0, 1.0))
    mask = np.zeros(scan.shape, bool)
    for k, j, i, side in ((4, 8, 10, 4), (9, 24, 6, 2), (6, 20, 28, 3)):
        mask[k : k + max(1, side // 2), j : j + side, i : i + side] = True
    numbered, number = ndimage.label(mask)
    found = list(fillings(Volume(mask, scan), grid))
    assert len(found) == number == 3
    for n, (box, _, own, voxels) in enumerate(found, start=1):
        was = numbered == n
        assert own.sum() == voxels == round(was.sum() * scan.voxel_volume / grid.voxel_volume)
        low = np.array([side.start for side in box])
        middle = grid.physical((np.argwhere(own) + low).mean(0))
        assert middle == pytest.approx(scan.physical(np.argwhere(was).mean(0)), abs=0.5)


def test_a_lesion_keeps_its_volume_and_lesions_that_are_apart_are_counted_apart() -> None:
    mask = np.zeros((24, 24, 24), bool)
    mask[4:7, 4:7, 4:7] = mask[4:7, 4:7, 8:11] = True  # a voxel between them
    mask[15, 15, 15] = mask[16, 16, 16] = True  # one, by a corner
    scan = Geometry((24, 24, 24), (1.0, 1.0, 1.0), (0.0, 0.0, 0.0), (1.0, 0, 0, 0, 1.0, 0, 0, 0, 1.0))
    for side in (0.4, 0.65, 0.9, 1.25, 2.0):
        size = round(24 / side)
        grid = Geometry((size, size, size), (side, side, side), (0.2, 0.1, 0.3), scan.direction)
        found = list(fillings(Volume(mask, scan), grid))
        assert [int(own.sum()) for _, _, own, _ in found] == [max(1, round(n / side**3)) for n in (27, 27, 2)]
        assert all(part[own].min() >= part[~own].max() for _, part, own, _ in found)
    beyond = replace(scan, size=(6, 6, 6))
    cut = [(int(own.sum()), number) for _, _, own, number in fillings(Volume(mask, scan), beyond)]
    assert cut == [(8, 27), (0, 27), (0, 2)], "what is there, of all of them"
