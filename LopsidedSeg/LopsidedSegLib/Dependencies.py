"""The Python packages that the computing process needs: installed when they are needed, not before."""

import importlib.metadata
import subprocess
from pathlib import Path

import slicer
from slicer.i18n import tr as _

TORCH = ">=2.4,<2.14"
REQUIREMENTS = Path(__file__).parents[1] / "Resources" / "requirements.txt"

_asked = False  # since Slicer started


def installed() -> bool:
    """Whether the computing process can run as things are; nothing is imported, asked or installed."""
    try:
        for package in ("torch", "numpy", "SimpleITK", "safetensors", "pydantic", "filelock", "psutil"):
            importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


def ensureDependencies() -> None:
    """Install what is missing, after asking the user. Nothing is installed while Slicer runs tests.

    What searches can do without (OpenVINO) is asked for once: whoever declines it, or cannot have it, goes on without.

    Raises:
        RuntimeError: The user declined, or it could not be installed; one sentence.
    """
    global _asked
    import slicer.packaging

    if _asked and installed():
        return
    _asked = True
    try:
        _ensureTorch()
        requirements = slicer.packaging.load_requirements(REQUIREMENTS)
        slicer.packaging.pip_ensure(requirements, requester="LopsidedSeg")
    except (RuntimeError, subprocess.CalledProcessError) as error:
        if installed():
            return
        if isinstance(error, RuntimeError):
            raise
        raise RuntimeError(
            _("Python packages could not be installed; check the network connection, and the log for details.")
        ) from error


def _ensureTorch() -> None:
    try:
        # PyTorchUtils.torchInstalled() would import torch into Slicer, which stays free of it
        importlib.metadata.version("torch")
        return
    except importlib.metadata.PackageNotFoundError:
        pass
    if slicer.app.testingEnabled():
        return
    try:
        import PyTorchUtils
    except ModuleNotFoundError:
        raise RuntimeError(_("Install the PyTorch extension in the Extensions Manager, and restart Slicer.")) from None
    logic = PyTorchUtils.PyTorchUtilsLogic()
    if logic.installTorch(askConfirmation=True, torchVersionRequirement=TORCH) is None:
        raise RuntimeError(_("PyTorch is needed and was not installed; press the button again to install it."))
