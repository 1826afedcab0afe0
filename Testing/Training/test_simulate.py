"""Simulated studies: repeatable, and with the truth where the lesions are."""

import json
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from lopsided.errors import InputError
from lopsided_training import contact
from lopsided_training.anatomy import from_image, from_label_map, mni152
from lopsided_training.cli import app
from lopsided_training.contact import contact_sheet
from lopsided_training.dataset import read_dataset
from lopsided_training.noise import resized
from lopsided_training.records import StudyRecord, sample
from lopsided_training.rendering import render
from lopsided_training.simulate import _write_study, load_background, simulate
from lopsided_training.slices import in_slices, labels_in, sliced
from PIL import Image
from scipy import ndimage
from typer.testing import CliRunner

pytestmark = pytest.mark.filterwarnings(
    "ignore:.*:UserWarning", "ignore:.*:FutureWarning", "ignore::DeprecationWarning"
)


def test_a_record_gives_the_same_study_every_time(label_map: Path) -> None:
    anatomy = from_label_map(label_map)
    record = sample(anatomy, 5)
    assert record == sample(anatomy, 5)
    assert record != sample(anatomy, 6)
    first, second = render(anatomy, record), render(anatomy, record)
    for name, image in first.images.items():
        assert np.array_equal(image, second.images[name])
    assert json.loads(json.dumps(record.to_json()))["seed"] == 5


def test_truth_is_where_the_lesions_are_drawn(label_map: Path) -> None:
    """What enhancement adds to the image, with everything else the same, lies within the truth."""
    anatomy = from_label_map(label_map)
    record = next(r for r in (sample(anatomy, s, mean_lesions=6) for s in range(50)) if len(r.lesions) >= 3)
    clean = {
        n: replace(a, noise=0.0, thickness_mm=1.0, blur_mm=0.3, oedema=0.0, ghost=0.0)
        for n, a in record.acquisitions.items()
    }
    record = replace(record, acquisitions=clean, stripped=False)
    rendered = render(anatomy, record)
    without = render(anatomy, replace(record, lesions=()))
    change = rendered.images["t1c"].astype(float) - without.images["t1c"]
    assert set(np.unique(rendered.truth)) == set(range(len(record.lesions) + 1))
    for value, lesion in enumerate(record.lesions, start=1):
        where = np.argwhere(rendered.truth == value)
        assert np.linalg.norm(where.mean(0) - lesion.centre) < 1.0
        diameter = np.cbrt(6 * len(where) / np.pi)
        assert diameter == pytest.approx(lesion.diameter_mm, abs=1.2)
        assert np.abs(change[rendered.truth == value]).mean() > 0
    near = ndimage.binary_dilation(rendered.truth > 0, iterations=3)
    assert np.abs(change[~near]).max() <= 1  # a grey level of rounding


def test_lesion_sizes_follow_the_field(label_map: Path) -> None:
    anatomy = from_label_map(label_map)
    diameters = np.array([x.diameter_mm for s in range(150) for x in sample(anatomy, s, mean_lesions=6).lesions])
    assert len(diameters) > 200
    assert 4 < np.median(diameters) < 6.5
    assert 0.1 < (diameters < 3).mean() < 0.3
    assert diameters.min() > 1.999
    more = [x.diameter_mm for s in range(150) for x in sample(anatomy, s, mean_lesions=6, more_small=0.5).lesions]
    small = [float(np.mean((np.array(some) > 1.999) & (np.array(some) < 4))) for some in (diameters, more)]
    assert small[0] + 0.2 < small[1] < 0.8


def test_mni152_and_real_images_are_backgrounds(tmp_path: Path) -> None:
    brain = mni152()
    assert {int(v) for v in np.unique(brain.tissue)} == {0, 1, 2, 3}
    volume = (brain.depth > 0).sum() / 1e6
    assert 1.3 < volume < 2.3  # litres
    left = brain.geometry.physical(np.argwhere(brain.depth > 0)).mean(0)
    assert abs(left[0]) < 3  # millimetres off the midline
    real = (brain.depth > 0) * (80 + 10 * (brain.tissue == 1)).astype(np.float32)
    image = sitk.GetImageFromArray(real.astype(np.float32))
    sitk.WriteImage(image, str(tmp_path / "real.nii.gz"))
    anatomy = from_image(tmp_path / "real.nii.gz")
    rendered = render(anatomy, sample(anatomy, 3))
    assert list(rendered.images) == ["t1c"]


@pytest.mark.parametrize(
    ("scale", "padding"), [(1.0, 0.0), (1.0, -3.0), (1 / 20, "mean"), (1 / 20, "darkest")], ids=str
)
def test_a_real_image_is_the_same_background_however_it_was_scaled_and_padded(
    label_map: Path, tmp_path: Path, scale: float, padding: float | str
) -> None:
    shells = from_label_map(label_map)
    inside = shells.depth > 0
    rng = np.random.default_rng(1)
    real = (100 + 20 * (shells.tissue == 1) + rng.normal(0, 3, inside.shape)).astype(np.float32)
    real[34:39, 34:39, 34:39] = 1  # fluid is all but black
    other = real * scale
    if isinstance(padding, str):
        other -= other[inside].mean() if padding == "mean" else other[inside].min() + 0.01
        padding = 0.0 if padding == "mean" else float(other[inside].min()) - 0.1
    for name, array, outside in (("usual", real, 0.0), ("other", other, padding)):
        image = sitk.GetImageFromArray(np.where(inside, array, outside).astype(np.float32))
        sitk.WriteImage(image, str(tmp_path / f"{name}.nii.gz"))
    usual, found = from_image(tmp_path / "usual.nii.gz"), from_image(tmp_path / "other.nii.gz")
    assert np.array_equal(usual.tissue > 0, found.tissue > 0)
    assert np.array_equal(usual.depth, found.depth)
    first, second = (
        render(a, replace(sample(usual, 3), lesions=(), cavities=())).images["t1c"] for a in (usual, found)
    )
    assert np.corrcoef(first.ravel(), second.ravel())[0, 1] > 0.99


@pytest.mark.parametrize(
    ("padding", "broken"), [(-1000.0, None), (-32768.0, None), (4095.0, None), (0.0, -30000.0)], ids=str
)
def test_a_value_far_from_all_others_is_not_all_that_is_seen_of_a_background(
    label_map: Path, tmp_path: Path, padding: float, broken: float | None
) -> None:
    shells = from_label_map(label_map)
    inside = shells.depth > 0
    real = 100 + 20 * (shells.tissue == 1) + np.random.default_rng(1).normal(0, 3, inside.shape)
    for name, outside in (("usual", 0.0), ("other", padding)):
        array = np.where(inside, real, outside).astype(np.float32)
        if broken and name == "other":
            array[36, 36, 36] = broken
        image = sitk.GetImageFromArray(array)
        image.SetSpacing((0.9, 0.9, 0.9))  # so that at the border both are mixed
        sitk.WriteImage(image, str(tmp_path / f"{name}.nii.gz"))
    usual, found = (from_image(tmp_path / f"{name}.nii.gz") for name in ("usual", "other"))
    assert usual.image is not None
    assert found.image is not None
    assert np.array_equal(usual.tissue > 0, found.tissue > 0)
    assert (np.abs(usual.image - found.image) > 0.01).sum() <= (27 if broken else 0)


def test_what_is_no_image_is_no_background(tmp_path: Path) -> None:
    path = tmp_path / "b.nii.gz"
    for array, words in (
        (np.zeros((20, 20, 20), np.int16), r"b\.nii\.gz: every voxel is 0, there is no image in it"),
        (np.pad(np.full((9, 9, 9), np.nan, np.float32), 9), r"b\.nii\.gz: 729 of 19683 voxels are NaN"),
        (np.zeros((20, 20, 20, 3), np.float32), r"b\.nii\.gz: has 3 values a voxel"),
    ):
        sitk.WriteImage(sitk.GetImageFromArray(array, isVector=array.ndim == 4), str(path))
        with pytest.raises(InputError, match=words):
            load_background(str(path))
    path.write_bytes(b"?")
    with pytest.raises(InputError, match=r"b\.nii\.gz: not an image that can be read"):
        load_background(str(path))


def test_a_head_is_no_background(tmp_path: Path) -> None:
    path = tmp_path / "head.nii.gz"
    rng = np.random.default_rng(1)
    sitk.WriteImage(sitk.GetImageFromArray(rng.normal(9, 1, (20, 20, 20)).astype(np.float32)), str(path))
    with pytest.raises(
        InputError, match=r"head\.nii\.gz: no one value fills what is around the brain; give a skull-strip"
    ):
        from_image(path)
    head = np.pad(rng.normal(90, 1, (150, 150, 150)), 9).astype(np.float32)
    sitk.WriteImage(sitk.GetImageFromArray(head), str(path))
    with pytest.raises(InputError, match=r"head\.nii\.gz: 3\.4 L are no brain; give a skull-stripped image"):
        from_image(path)


def test_a_real_image_is_blurred_by_what_its_lesions_are_made_brighter_for(label_map: Path, tmp_path: Path) -> None:
    """Both by the blur in the record, which is less than on a label map; or small lesions would be too bright."""
    shells = from_label_map(label_map)
    real = ((shells.depth > 0) * (80 + 20 * (shells.tissue == 1))).astype(np.float32)
    sitk.WriteImage(sitk.GetImageFromArray(real), str(tmp_path / "real.nii.gz"))
    anatomy = from_image(tmp_path / "real.nii.gz")
    assert sample(anatomy, 1, one_protocol=True).acquisitions["t1c"].blur_mm == pytest.approx(0.3 * 0.5)
    assert max(sample(anatomy, seed).acquisitions["t1c"].blur_mm for seed in range(20)) < 0.3
    record = next(r for r in (sample(anatomy, s, one_protocol=True, mean_lesions=9) for s in range(9)) if r.lesions)
    sharp, blurred = (
        render(
            anatomy,
            replace(record, acquisitions={"t1c": replace(record.acquisitions["t1c"], noise=0, bias=0, blur_mm=blur)}),
        ).images["t1c"]
        for blur in (0.0, 0.8)
    )
    inside = anatomy.depth > 6
    expected = ndimage.gaussian_filter(sharp.astype(np.float32), 0.8)
    assert np.abs(blurred - expected)[inside].max() < 2
    assert np.abs(blurred - sharp.astype(float))[inside].max() > 20


def test_a_dataset_is_nnunets_layout_with_trust(dataset: Path) -> None:
    cases = read_dataset(dataset)
    assert len(cases) == 3
    for case in cases:
        assert set(case.images) == {"t1c", "t1", "t2", "flair"}
        label = sitk.GetArrayFromImage(sitk.ReadImage(str(case.label)))
        trust = sitk.GetArrayFromImage(sitk.ReadImage(str(case.trust)))
        assert set(np.unique(label)) <= {0, 1}
        assert np.array_equal(trust == 2, label == 1)
        assert set(np.unique(trust)) <= {1, 2}
    described = json.loads((dataset / "dataset.json").read_text(encoding="utf-8"))
    assert described["numTraining"] == 3
    assert described["file_ending"] == ".nii.gz"


def test_a_contact_sheet_shows_one_place_in_every_sequence(
    dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where a stack is longer or shorter than the reference's, too, and nothing where it does not reach."""
    case = read_dataset(dataset)[0]
    whole = sitk.ReadImage(str(case.images["t2"]))
    middle = int((case.truth(case.study().reference).array > 0).sum(axis=(1, 2)).argmax())
    shown: dict[str, np.ndarray] = {}
    monkeypatch.setattr(contact, "_show", lambda axes, picture, mask, title: shown.update({title: picture}))
    for first, last in ((0, whole.GetDepth()), (middle - 3, middle + 20), (middle + 3, middle + 20)):
        shown.clear()
        sitk.WriteImage(whole[:, :, first:last], str(tmp_path / "t2.nii.gz"))
        contact_sheet([replace(case, images={**case.images, "t2": tmp_path / "t2.nii.gz"})], tmp_path / "sheet.png")
        if first > middle:
            assert "t2" not in shown
        else:
            assert np.array_equal(np.sort(shown["t2"].ravel()), np.sort(sitk.GetArrayFromImage(whole)[middle].ravel()))


def test_a_contact_sheet_shows_the_smallest_the_median_and_the_largest_lesion(
    dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each in the middle of its picture, with its diameter."""
    case = read_dataset(dataset)[0]
    image = sitk.ReadImage(str(case.label))
    labels = np.zeros(image.GetSize()[::-1], np.uint8)
    middle = np.array(labels.shape) // 2
    sides, at = np.array([5, 2, 7, 3]), np.array([[-6, -9, 4], [-6, 9, 0], [6, 6, -6], [6, -9, 5]]) + middle
    for side, (k, j, i) in zip(sides, at, strict=True):
        labels[k : k + side, j : j + side, i : i + side] = 1
    written = sitk.GetImageFromArray(labels)
    written.CopyInformation(image)
    sitk.WriteImage(written, str(tmp_path / "label.nii.gz"))
    shown: list[tuple[str, np.ndarray, np.ndarray]] = []
    monkeypatch.setattr(contact, "_show", lambda axes, picture, mask, title: shown.append((title, picture, mask)))
    monkeypatch.setattr(contact.Figure, "savefig", lambda self, path, **how: Path(path).touch())
    contact_sheet([replace(case, label=tmp_path / "label.nii.gz")], tmp_path / "sheet.png")
    i_mm, j_mm, k_mm = image.GetSpacing()
    volumes = np.array([2, 5, 7]) ** 3 * i_mm * j_mm * k_mm
    assert [title for title, *_ in shown[-3:]] == [f"{d:.1f} mm" for d in np.cbrt(6 * volumes / np.pi)]
    for (_, picture, mask), side in zip(shown[-3:], (2, 5, 7), strict=True):
        assert picture.shape == mask.shape
        assert picture.shape == pytest.approx((48 / j_mm, 48 / i_mm), abs=2)
        lesion = mask[mask.shape[0] // 2 - 4 :, mask.shape[1] // 2 - 4 :][:8, :8]
        assert lesion.sum() == side**2
        assert np.argwhere(lesion).mean(0) == pytest.approx([3.5, 3.5], abs=1)


def test_a_contact_sheet_shows_every_case(dataset: Path, tmp_path: Path) -> None:
    cases = read_dataset(dataset)
    contact_sheet(cases, tmp_path / "sheet.png")
    contact_sheet(cases[:1], tmp_path / "one.png")
    contact_sheet(cases[:1], tmp_path / "plain.png", outlines=False)
    sheet, one, plain = (
        np.asarray(Image.open(tmp_path / f"{n}.png").convert("RGB"), int) for n in ("sheet", "one", "plain")
    )
    assert sheet.shape[0] == 3 * one.shape[0]

    def orange(picture: np.ndarray) -> int:
        return int(((picture[..., 0] - picture[..., 2]) > 80).sum())

    assert orange(one) > 20
    assert orange(plain) == 0


def test_one_protocol_makes_studies_alike(label_map: Path) -> None:
    """The white matter of t1c differs between scanners by its grey level; of one scanner it does not."""
    anatomy = from_label_map(label_map)

    def white(seed: int, alike: bool) -> float:
        image = render(anatomy, sample(anatomy, seed, one_protocol=alike)).images["t1c"]
        return float(np.median(image[resized((anatomy.labels == 2).astype(np.float32), image.shape) > 0.5]))

    spread = {alike: np.std(np.log([white(n, alike) for n in range(4)])) for alike in (False, True)}
    assert spread[True] < 0.1 < spread[False]
    assert sample(anatomy, 3, one_protocol=True).stripped


def test_unknown_sequences_are_refused(label_map: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="sequences t1, t9: must be of t1c, t1, t2, flair, t1c among them"):
        simulate([str(label_map)], tmp_path, studies=1, seed=1, sequences=("t1", "t9"))
    arguments = ["simulate", str(label_map), "--out", str(tmp_path), "--studies", "1", "--sequences", "t1c, flair"]
    said = CliRunner().invoke(app, arguments)
    assert f"1 study in {tmp_path}" in said.output
    assert set(read_dataset(tmp_path)[0].images) == {"t1c", "flair"}


def test_a_folder_that_is_not_called_in_utf8_is_refused(label_map: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"d\\xe4ta: its name is not in UTF-8"):
        simulate([str(label_map)], tmp_path / "d\udce4ta", studies=1, seed=1, sequences=("t1c",))


def test_a_folder_of_other_studies_is_refused(label_map: Path, tmp_path: Path) -> None:
    """The same call goes on where it was interrupted."""
    simulate([str(label_map)], tmp_path, studies=1, seed=1, sequences=("t1c",))
    (tmp_path / "dataset.json").unlink()
    (tmp_path / "labelsTr" / ".DS_Store").touch()
    simulate([str(label_map)], tmp_path, studies=1, seed=1, sequences=("t1c",))
    with pytest.raises(InputError, match=r"is not empty \(imagesTr/sim_000001_0000.*choose another folder"):
        simulate([str(label_map)], tmp_path, studies=1, seed=2, sequences=("t1c",))
    simulate([str(label_map)], tmp_path, studies=1, seed=1, sequences=("t1c", "t2"))
    with pytest.raises(InputError, match=r"is not empty \(imagesTr/sim_000001_0001\.nii\.gz\); choose another folder"):
        simulate([str(label_map)], tmp_path, studies=1, seed=1, sequences=("t1c",))


def test_what_cannot_be_written_is_said(
    label_map: Path, dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "file"
    file.touch()
    with pytest.raises(InputError, match=r"file: cannot be written \(Not a directory\); .*choose another --out"):
        simulate([str(label_map)], file, studies=1, seed=1)
    for out in (tmp_path, tmp_path / "none" / "sheet.png"):
        with pytest.raises(InputError, match=rf"{out.name}: cannot be written \(.*\); .*choose another --out"):
            contact_sheet(read_dataset(dataset)[:1], out)
    write = sitk.WriteImage

    def full(image: sitk.Image, path: str, **how: object) -> None:
        write(image, path, **how)
        Path(path).write_bytes(Path(path).read_bytes()[:1000])

    monkeypatch.setattr(sitk, "WriteImage", full)
    for part in ("imagesTr", "labelsTr", "trust", "records"):
        (tmp_path / "data" / part).mkdir(parents=True)
    settings = {"mean_lesions": 1.0, "more_small": 0.0, "one_protocol": True, "change": None}
    with pytest.raises(
        InputError, match=r"data: cannot be written \(sim_000001_0000\.nii\.gz could not be written whole"
    ):
        _write_study((str(label_map), 1, tmp_path / "data"), sequences=("t1c",), **settings)  # type: ignore[arg-type]


def test_backgrounds_that_are_not_there_are_named_once(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no such background: a, and 1 more; give label maps"):
        simulate(["a", "b", "a", "a"], tmp_path, studies=1, seed=1)


def test_an_image_of_whole_numbers_is_no_label_map(label_map: Path, tmp_path: Path) -> None:
    shells = from_label_map(label_map)
    grey = np.random.default_rng(0).integers(1, 180, shells.depth.shape) * (shells.depth > 0)
    sitk.WriteImage(sitk.GetImageFromArray(grey.astype(np.uint8)), str(tmp_path / "real.nii.gz"))
    assert load_background(str(tmp_path / "real.nii.gz")).image is not None
    assert load_background(str(label_map)).image is None


def test_thick_slices_are_written_as_they_were_scanned(label_map: Path, tmp_path: Path) -> None:
    """Fewer voxels, on the same extent, and no lesion lost; other sequences on the same grid."""
    thick = partial(_scanned, axis=1, thickness_mm=5.0)
    simulate([str(label_map)], tmp_path, studies=1, seed=12, mean_lesions=12, sequences=("t1c", "t2"), change=thick)
    (case,) = read_dataset(tmp_path)
    study = case.study()
    geometry, anatomy = study.reference.geometry, from_label_map(label_map)
    assert geometry.spacing == pytest.approx((1, 5, 1), rel=0.1)
    assert geometry.same_grid(study.others["t2"].geometry)
    ends = [g.physical(np.array([[0, 0, 0], np.array(g.shape) - 1])) for g in (geometry, anatomy.geometry)]
    assert np.allclose(*ends)
    record = thick(sample(anatomy, 12, mean_lesions=12))
    rendered = render(anatomy, record)
    assert len(record.lesions) > 4
    assert set(np.unique(rendered.truth)) == set(range(len(record.lesions) + 1))
    for value, lesion in enumerate(record.lesions, start=1):
        middle = geometry.physical(np.argwhere(rendered.truth == value)).mean(0)
        off = np.abs(middle - anatomy.geometry.physical(np.array(lesion.centre)))
        assert off[[0, 2]].max() < 2, "within a slice"
        assert off[1] < 4


def _scanned(record: StudyRecord, axis: int, thickness_mm: float) -> StudyRecord:
    how = replace(record.acquisitions["t1c"], axis=axis, thickness_mm=thickness_mm)
    return replace(record, acquisitions=record.acquisitions | {"t1c": how})


@pytest.mark.parametrize("slices", [1.25, 1.5, 2.0, 3.0, 4.0])
@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_lesion_is_as_large_in_slices_of_any_thickness(slices: float, axis: int) -> None:
    shape = tuple(62 if n == axis else 25 for n in range(3))
    thick = sliced(shape, axis, slices)
    places, rng = np.moveaxis(np.indices(shape), 0, -1), np.random.default_rng(0)
    before = after = 0.0
    for _ in range(20):
        middle = rng.uniform(-3, 3, 3) + [30 if n == axis else 12 for n in range(3)]
        ball = (np.linalg.norm(places - middle, axis=-1) <= rng.uniform(2, 4)).astype(np.uint8)
        before += ball.sum()
        after += labels_in(ball, thick).sum() * 61 / (thick[axis] - 1)
    assert 0.7 < after / before < 1.1, "the ends of a small ball fill less than half of a thick slice"


def test_simulated_again_a_study_has_nothing_of_another_head(label_map: Path, tmp_path: Path) -> None:
    simulate([str(label_map)], tmp_path, studies=1, seed=3)
    assert set(read_dataset(tmp_path)[0].images) == {"t1c", "t1", "t2", "flair"}
    simulate([str(label_map)], tmp_path, studies=1, seed=3, change=_one_sequence)
    assert set(read_dataset(tmp_path)[0].images) == {"t1c"}


def _one_sequence(record: StudyRecord) -> StudyRecord:
    return replace(record, acquisitions={"t1c": record.acquisitions["t1c"]})


def test_a_slice_shows_what_is_in_it() -> None:
    """Thickness is the full width at half maximum of what one slice sees; a lesion is what it fills half of."""
    line = np.zeros((61, 1, 1), np.float32)
    line[30] = 1
    seen = [float(in_slices(np.roll(line, n, 0), 0, 6.0)[5, 0, 0]) for n in range(-12, 13)]
    places = np.arange(-12, 13)
    variance = np.average((places - np.average(places, weights=seen)) ** 2, weights=seen)
    assert np.sqrt(variance) * 2.355 == pytest.approx(6, abs=0.3), "of a Gaussian"
    assert in_slices(line, 0, 1.0) is line
    labels = np.zeros((61, 3, 3), np.uint8)
    labels[20:29, 1, 1] = 1
    labels[41, 0, 0] = 2
    # three and a half, and two and a half of one slice's six, and all of the next
    labels[30:40, 2, 2], labels[31:40, 0, 2] = 3, 4
    thick = labels_in(labels, (11, 3, 3))
    assert [list(np.flatnonzero(thick[:, j, 2])) for j in (2, 0)] == [[5, 6], [6]]
    assert [list(np.flatnonzero(thick[:, 1, 1] == 1)), list(np.flatnonzero(thick[:, 0, 0] == 2))] == [[4], [7]]
    assert np.array_equal(labels_in(labels, labels.shape), labels)
