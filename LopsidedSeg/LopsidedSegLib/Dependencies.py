"""The Python packages that the computing process needs: installed when they are needed, not before."""

import importlib.metadata
import logging
from pathlib import Path

import slicer
from packaging.requirements import Requirement
from slicer.i18n import tr as _

OLDEST_TORCH, NEWEST_TORCH = ">=2.4", "<2.14"  # of one that is there already, a newer one than was tried is let be
REQUIREMENTS = Path(__file__).parents[1] / "Resources" / "requirements.txt"

_asked = False  # since Slicer started


def installed() -> bool:
    """Whether the computing process can run as things are; nothing is imported, asked or installed."""
    lines = REQUIREMENTS.read_text(encoding="utf-8").splitlines()
    needed = [line for line in lines if not line.startswith(("#", "openvino"))]
    return all(_isThere(Requirement(line)) for line in ("torch" + OLDEST_TORCH, "numpy", "SimpleITK", *needed))


def _isThere(requirement: Requirement) -> bool:
    """Another extension may have installed an older version, and an installation that was interrupted have left none."""
    try:
        version = importlib.metadata.version(requirement.name)
    except importlib.metadata.PackageNotFoundError:
        return False
    return version is not None and requirement.specifier.contains(version, prereleases=True)


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
    except Exception as error:  # PyTorchUtils imports what it installed, which may fail in any way
        if installed():
            return
        if isinstance(error, RuntimeError):
            raise
        logging.exception("LopsidedSeg: packages could not be installed")
        sentence = _(
            "Python packages could not be installed ({error}); check the network connection, and that you may write where "
            "Slicer is installed; the log has the details."
        )
        raise RuntimeError(sentence.format(error=error)) from error


def _ensureTorch() -> None:
    # PyTorchUtils.torchInstalled() would import torch into Slicer, which stays free of it
    if _isThere(Requirement("torch" + OLDEST_TORCH)) or slicer.app.testingEnabled():
        return
    if _isThere(Requirement("torch")):  # an upgrade under another extension that has it loaded would break both
        sentence = _(
            "PyTorch {version} is installed, and {needed} is needed; uninstall it in the module PyTorch Utils, restart Slicer, "
            "and press the button again."
        )
        raise RuntimeError(sentence.format(version=importlib.metadata.version("torch"), needed=OLDEST_TORCH))
    try:
        import PyTorchUtils
    except ModuleNotFoundError:
        raise RuntimeError(_("Install the PyTorch extension in the Extensions Manager, and restart Slicer.")) from None
    logic = PyTorchUtils.PyTorchUtilsLogic()
    if logic.installTorch(askConfirmation=True, torchVersionRequirement=f"{OLDEST_TORCH},{NEWEST_TORCH}") is None:
        raise RuntimeError(_("PyTorch is needed and was not installed; press the button again to install it."))
