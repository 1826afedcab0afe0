"""The ``lopsided`` command, as a user runs it."""

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pytest
import SimpleITK as sitk
from lopsided.cli import run_app
from lopsided.reading import read_volume
from lopsided.resources import resource_folder
from lopsided.volume import Geometry, Volume, to_sitk
from numpy.testing import assert_allclose
from typer import Typer

SAMPLE = resource_folder() / "SampleStudy"
RESULTS = ["candidates.json", "probability.nii.gz", "report.html", "suggestions.nii.gz", "suggestions.seg.nrrd"]


def lopsided(*arguments: object, code: int = 0) -> str:
    """Run the command; what it printed, both streams."""
    done = subprocess.run(
        [sys.executable, "-m", "lopsided", *map(str, arguments)], capture_output=True, encoding="utf-8", check=False
    )
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout + done.stderr


def candidates(folder: Path) -> list[dict]:  # type: ignore[type-arg]
    return json.loads((folder / "candidates.json").read_text(encoding="utf-8"))["candidates"]


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("demo") / "out"
    printed = lopsided("demo", "--out", out)
    assert "not for clinical use" in printed
    assert re.search(r"Taken as annotated lesions: .* \d+ mm³", printed)
    assert "cm³" not in printed
    assert str(out / "report.html") in printed
    return out


def test_the_demo_finds_lesions_that_its_annotation_misses(demo: Path) -> None:
    assert sorted(p.name for p in demo.iterdir()) == RESULTS
    truth = sitk.GetArrayFromImage(sitk.ReadImage(str(SAMPLE / "truth.nii.gz")))
    annotation = sitk.GetArrayFromImage(sitk.ReadImage(str(SAMPLE / "annotation.seg.nrrd")))
    suggested = sitk.GetArrayFromImage(sitk.ReadImage(str(demo / "suggestions.nii.gz")))
    missed = set(np.unique(truth)) - set(np.unique(annotation))
    assert len(missed) >= 3
    assert missed & set(np.unique(truth[suggested > 0])), "at least one of them is suggested"
    assert not (suggested[annotation > 0]).any(), "nothing annotated is suggested again"


def test_the_demo_can_be_run_again(demo: Path) -> None:
    before = candidates(demo)
    printed = lopsided("demo", "--out", demo, code=2)
    assert "choose another folder, or replace it with --overwrite" in printed
    lopsided("demo", "--out", demo, "--overwrite")
    assert candidates(demo) == before


def test_what_is_read_is_not_replaced(demo: Path, tmp_path: Path) -> None:
    """Suggestions that were edited may be the annotation of the next search."""
    out = Path(shutil.copytree(demo, tmp_path / "out"))
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    edited = out / "suggestions.seg.nrrd"
    linked = tmp_path / "annotation.seg.nrrd"
    linked.symlink_to(edited)
    for given in (edited, linked):
        printed = lopsided("suggest", SAMPLE / "t1c.nii.gz", "--annotation", given, "--out", out, "--overwrite", code=2)
        assert f"{given.name}: --overwrite would replace it, and it is to be read; choose another --out" in printed
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before


def test_formats_give_the_same_candidates_in_the_patient(tmp_path: Path, write_series: Callable[..., None]) -> None:
    """The sample's post-contrast T1 as NIfTI, NRRD stored in another order, and a DICOM series."""
    image = sitk.ReadImage(str(SAMPLE / "t1c.nii.gz"))
    sitk.WriteImage(sitk.PermuteAxes(image, (2, 0, 1))[::-1, :, ::-1], str(tmp_path / "t1c.nrrd"))
    write_series(read_volume(SAMPLE / "t1c.nii.gz"), tmp_path / "dicom")
    found = {}
    for name, path in (
        ("nifti", SAMPLE / "t1c.nii.gz"),
        ("nrrd", tmp_path / "t1c.nrrd"),
        ("dicom", tmp_path / "dicom"),
    ):
        lopsided(
            "suggest",
            path,
            "--annotation",
            SAMPLE / "annotation.seg.nrrd",
            "--out",
            tmp_path / f"{name}-out",
            "--threshold",
            0.05,
        )
        found[name] = candidates(tmp_path / f"{name}-out")
    assert found["nifti"]
    for other in ("nrrd", "dicom"):
        assert len(found[other]) == len(found["nifti"])
        for a in found["nifti"]:  # nearly equal confidences may change places
            b = min(
                found[other], key=lambda c: float(np.linalg.norm(np.subtract(c["centroid_lps"], a["centroid_lps"])))
            )
            assert_allclose(a["centroid_lps"], b["centroid_lps"], atol=0.1)
            assert a["confidence"] == pytest.approx(b["confidence"], abs=0.01)
            assert a["volume_mm3"] == pytest.approx(b["volume_mm3"], rel=0.02)


def test_the_example_in_the_guide_to_datasets_runs_as_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    guide = (Path(__file__).parents[2] / "docs" / "dataset.md").read_text(encoding="utf-8")
    shutil.copytree(SAMPLE, tmp_path, dirs_exist_ok=True)
    [marks] = re.findall(r"```json\n({.markups.*?)```", guide, re.S)
    (tmp_path / "marks.mrk.json").write_text(marks)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "116")
    commands = re.findall(r"^    \$ lopsided ((?:.*\\\n)*.*)\n((?:    (?!\$).*\n)+)", guide, re.M)
    shown = [(command, text) for command, text in commands if command.startswith(("export", "dataset stats"))]
    assert len(shown) == 3
    for command, expected in shown:
        printed = lopsided(*shlex.split(command.replace("\\\n", " ")), *["--key", "key"] * command.startswith("export"))
        named = (re.sub(r"\b[CR][0-9A-F]{12}\b", "NAME", text.split("Still missed")[0]) for text in (printed, expected))
        # readers come by pseudonym, so in another order
        told, shows = (sorted(filter(None, map(str.strip, text.splitlines()))) for text in named)
        assert told == shows


def test_too_little_memory_is_said_to_be_that(capsys: pytest.CaptureFixture[str]) -> None:
    command = Typer()

    @command.command()
    def greedy() -> None:
        np.empty((2**20, 2**20, 2**15), np.uint8)

    with pytest.raises(SystemExit) as ended, patch.object(sys, "argv", ["greedy"]):
        run_app(command)
    assert ended.value.code == 2
    said = capsys.readouterr().err
    assert said.startswith("error: not enough memory (Unable to allocate 32.0 PiB for an array with shape ")
    assert said.endswith("); close other programs and try again\n")
    assert said.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["suggest"], "give the post-contrast T1 once"),
        (["suggest", "missing.nii.gz", "--out", "OUT"], "missing.nii.gz: no such file"),
        (["suggest", "T1C"], "no --out"),
        (["suggest", "T1C", "--t1c", "T1C", "--out", "OUT"], "once"),
        (["suggest", "T1C", "--out", "OUT", "--model", "none"], "give the path of a model folder, or one of: "),
        (["suggest", "T1C", "--out", "OUT", "--annotation", "T1C"], "looks like an image; give a label map"),
        (["suggest", "T1C", "--out", "OUT", "--annotation", "DRAWN", "--labels", "9999"], "has no label '9999'"),
        (["suggest", "T1C", "--out", "OUT", "--labels", "1"], "--labels 1: there is no --annotation"),
        (["suggest", "T1C", "--out", "OUT", "--series", "3"], "DICOM; give one, or leave this --series out"),
        (["suggest", "T1C", "--out", "OUT", "--device", "abacus"], "not available here"),
        (["models", "info", "none"], "no model 'none'"),
    ],
)
def test_what_the_user_can_mend_is_one_line_and_exit_code_2(tmp_path: Path, arguments: list[str], words: str) -> None:
    files = {"T1C": SAMPLE / "t1c.nii.gz", "DRAWN": SAMPLE / "annotation.seg.nrrd", "OUT": tmp_path / "out"}
    places = {name: str(path) for name, path in files.items()}
    printed = lopsided(*(places.get(a, a) for a in arguments), code=2)
    assert words in printed
    assert printed.startswith("error: ")
    assert len(printed.strip().splitlines()) == 1
    assert list(tmp_path.iterdir()) == [], "nothing half-written is left"


def test_our_own_failure_is_exit_code_1(tmp_path: Path) -> None:
    code = (
        "import sys, lopsided.cli as c\n"
        "c.read_study = lambda *a: 1 / 0\n"
        f"sys.argv = ['lopsided', 'suggest', 'x.nii', '--out', {str(tmp_path / 'out')!r}]\n"
        "c.main()\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, encoding="utf-8", check=False)
    assert done.returncode == 1
    assert "internal error: ZeroDivisionError" in done.stderr
    assert "Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "error",
    ["ImportError('libcudnn.so.9: cannot open shared object file')", "OSError(22, 'Error loading c10.dll')"],
    ids=["Linux", "Windows"],
)
def test_a_pytorch_that_cannot_be_loaded_is_said(tmp_path: Path, error: str) -> None:
    """As one without the libraries that it needs; it is no fault of the results' folder, and no traceback."""
    (tmp_path / "torch").mkdir()
    (tmp_path / "torch" / "__init__.py").write_text(f"raise {error}")
    code = f"import sys; sys.path.insert(0, {str(tmp_path)!r}); from lopsided.cli import main; main()"
    command = [sys.executable, "-c", code, "demo", "--out", str(tmp_path / "out")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "error: PyTorch cannot be loaded (" in done.stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.skipif(os.name == "nt", reason="POSIX signals")
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_leaves_nothing(tmp_path: Path, how: signal.Signals) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "lopsided", "demo", "--out", str(tmp_path / "out")],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + 60
    while not any(tmp_path.iterdir()) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert process.poll() is None
    process.send_signal(how)
    assert process.wait(60) != 0
    assert list(tmp_path.iterdir()) == []


def test_an_interrupt_that_a_library_swallows_is_not_lost() -> None:
    """Torch's import does so at times."""
    from lopsided.cli import _interrupts

    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt), _interrupts() as check:
        check()
        with suppress(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
        check()
    assert signal.getsignal(signal.SIGINT) is before


def test_models_are_listed_and_described() -> None:
    name = next(p.parent.name for p in (resource_folder() / "Models").glob("*/model.json"))
    assert name.split("-")[0] in lopsided("models", "list")
    described = lopsided("models", "info", name)
    assert "not for clinical use" in described
    assert "limitations" in described
    assert "0.0672 (default)" in described
    assert "integers: of 8 bits, on CPUs" in described


def test_a_copy_of_a_model_can_be_used_by_its_path(tmp_path: Path) -> None:
    folder = next(p.parent for p in (resource_folder() / "Models").glob("*/model.json"))
    shutil.copytree(folder, tmp_path / "mine")
    assert "Research tool" in lopsided("models", "info", tmp_path / "mine")


def test_a_model_of_another_architecture_searches_too(
    deeplab_folder: Path, head: Callable[..., Volume], geometry: Callable[..., Geometry], tmp_path: Path
) -> None:
    volume = head(geometry((72, 64, 56)))
    sitk.WriteImage(to_sitk(volume.array, volume.geometry), str(tmp_path / "t1c.nii.gz"))
    lopsided("suggest", tmp_path / "t1c.nii.gz", "--model", deeplab_folder, "--out", tmp_path / "out")
    used = json.loads((tmp_path / "out" / "candidates.json").read_text(encoding="utf-8"))["model"]
    assert used["digest"] == json.loads((deeplab_folder / "model.json").read_text(encoding="utf-8"))["digest"]
    assert read_volume(tmp_path / "out" / "probability.nii.gz").array.max() > 0


def test_the_worker_answers_requests_and_outlives_a_bad_one(tmp_path: Path, demo: Path) -> None:
    files = {name: str(SAMPLE / f"{name}.nii.gz") for name in ("t1c", "t1", "t2", "flair")}
    good = {"sequences": files, "annotation": str(SAMPLE / "annotation.seg.nrrd"), "out": str(tmp_path / "out")}
    bad = {"sequences": {"t1c": str(tmp_path / "missing.nii")}, "out": str(tmp_path / "other")}
    lines = ["not JSON", json.dumps({"suggest": bad}), json.dumps({"suggest": good})]
    said = []
    with subprocess.Popen(
        [sys.executable, "-m", "lopsided.worker"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, encoding="utf-8"
    ) as process:
        assert process.stdin
        assert process.stdout
        process.stdin.write("\n".join(lines) + "\n")
        process.stdin.flush()
        for answer in process.stdout:
            said.append(json.loads(answer))
            if "done" in said[-1]:
                process.stdin.close()
    assert process.returncode == 0
    assert set(said[0]["ready"]) == {"version", "pid"}
    errors = [m["error"] for m in said if "error" in m]
    assert "does not understand" in errors[0]
    assert "no such file" in errors[1]
    assert said[-1] == {"done": {"out": str(tmp_path / "out")}}
    assert [m["progress"]["part"] for m in said if "progress" in m][-1] == 1
    threshold = json.loads((demo / "candidates.json").read_text(encoding="utf-8"))["threshold"]
    found = candidates(tmp_path / "out")
    assert [c for c in found if c["confidence"] >= threshold] == candidates(demo)
    assert len(found) > len(candidates(demo)), "Slicer gets them all, to move the threshold over"


def test_the_worker_ends_in_the_middle_of_a_search_when_nobody_is_left_to_answer(tmp_path: Path) -> None:
    """As when Slicer is killed; and nothing half-written stays."""
    request = {"sequences": {"t1c": str(SAMPLE / "t1c.nii.gz")}, "out": str(tmp_path / "out")}
    with subprocess.Popen(
        [sys.executable, "-m", "lopsided.worker"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, encoding="utf-8"
    ) as process:
        assert process.stdin
        assert process.stdout
        process.stdin.write(json.dumps({"suggest": request}) + "\n")
        process.stdin.flush()
        for answer in process.stdout:
            if json.loads(answer).get("progress", {}).get("what") == "Searching for lesions":
                break
        assert list(tmp_path.iterdir()), "it has begun"
        process.stdin.close()
        process.wait(60)
    assert list(tmp_path.iterdir()) == []
