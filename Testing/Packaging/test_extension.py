"""The extension is configured, built, installed and tested as Slicer would, and its package lacks nothing."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
STUB = Path(__file__).parent / "slicer-stub"
MODULES = Path("lib") / "Slicer-5.12" / "qt-scripted-modules"

pytestmark = pytest.mark.skipif(shutil.which("cmake") is None, reason="CMake is not installed")


def _run(*command: object, **environment: str) -> subprocess.CompletedProcess[str]:
    variables = {**os.environ, **environment}
    return subprocess.run([str(c) for c in command], capture_output=True, text=True, check=False, env=variables)


def _configure(source: Path, build: Path) -> subprocess.CompletedProcess[str]:
    python = f"-DSlicer_STUB_PYTHON={sys.executable}"
    return _run("cmake", "-S", source, "-B", build, f"-DSlicer_DIR={STUB}", python)


def _installed(source: Path, build: Path) -> Path:
    """Configure, build and install; the folder that Slicer would look for modules in."""
    for done in (
        _configure(source, build),
        _run("cmake", "--build", build),
        _run("cmake", "--install", build, "--prefix", build / "installed"),
    ):
        assert done.returncode == 0, done.stdout + done.stderr
    return build / "installed" / MODULES


def _files(folder: Path) -> set[str]:
    """What a package must have of a module's folder."""
    files = (path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    build = {"CMakeLists.txt"}
    return {str(f) for f in files if "__pycache__" not in f.parts and f.name not in build and f.name[0] != "."}


@pytest.fixture(scope="module")
def build(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A build folder of the extension as it is."""
    folder = tmp_path_factory.mktemp("build")
    _installed(ROOT, folder)
    return folder


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A copy of the extension that a test can spoil; without the data, which are large."""
    copy = tmp_path / "source"
    ignore = shutil.ignore_patterns("__pycache__", "SampleStudy", "Models")
    shutil.copytree(ROOT / "LopsidedSeg", copy / "LopsidedSeg", ignore=ignore)
    shutil.copy(ROOT / "CMakeLists.txt", copy)
    return copy


def test_the_package_has_every_file_of_the_module(build: Path) -> None:
    """A file that LopsidedSeg/CMakeLists.txt does not list would be missing for users."""
    assert _files(build / "installed" / MODULES) == _files(ROOT / "LopsidedSeg")


def test_a_file_that_is_not_listed_is_caught(source: Path, tmp_path: Path) -> None:
    """The test above can fail."""
    (source / "LopsidedSeg" / "lopsided" / "forgotten.py").write_text("")
    installed = _installed(source, tmp_path / "build")
    assert _files(source / "LopsidedSeg") - _files(installed) == {"lopsided/forgotten.py"}


def test_a_listed_file_that_is_missing_is_caught(source: Path, tmp_path: Path) -> None:
    """By name, when configuring."""
    (source / "LopsidedSeg" / "lopsided" / "volume.py").unlink()
    done = _configure(source, tmp_path / "build")
    assert done.returncode != 0
    assert "lopsided/volume.py" in done.stderr


def test_the_core_is_imported_from_the_package(build: Path) -> None:
    """By the Python that the module starts, with nothing but the installed folder."""
    folder = build / "installed" / MODULES
    code = "import lopsided.volume, lopsided.worker; print(lopsided.worker.__file__)"
    done = _run(sys.executable, "-c", code, PYTHONPATH=str(folder))
    assert done.stdout.strip() == str(folder / "lopsided" / "worker.py"), done.stderr


def _skip_without_slicer() -> None:
    for needed in ("slicer", "PySide6"):
        pytest.importorskip(needed, reason=f"{needed} is not installed, so the module cannot be opened")


def _ctest(build: Path, test: str) -> subprocess.CompletedProcess[str]:
    _skip_without_slicer()
    return _run("ctest", "--test-dir", build, "--output-on-failure", "--no-tests=error", "-R", test)


def test_ctest_opens_the_module(build: Path) -> None:
    """From its description to its panel."""
    done = _ctest(build, "GenericTest")
    assert done.returncode == 0, done.stdout


@pytest.mark.skipif(not any(ROOT.glob("LopsidedSeg/Resources/Models/*/model.json")), reason="no model is here yet")
def test_ctest_runs_the_modules_own_test(build: Path) -> None:
    """The installed model on the sample study, in a process, through MRML."""
    done = _ctest(build, "^py_LopsidedSeg$")
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize(
    ("absent", "sentence"),
    [("Resources/Models/*/*", "no model is installed"), ("lopsided/worker.py", "No module named lopsided.worker")],
)
def test_the_modules_own_test_fails_without(build: Path, tmp_path: Path, absent: str, sentence: str) -> None:
    """A self-test that passes without the thing that it tests would be worth nothing."""
    _skip_without_slicer()
    folder = tmp_path / "module"
    shutil.copytree(build / "installed" / MODULES, folder)
    for path in folder.glob(absent):
        path.unlink()
    done = _run(sys.executable, Path(__file__).parent / "run_module.py", "unittest", folder, "LopsidedSeg")
    assert done.returncode != 0
    assert sentence in done.stderr
