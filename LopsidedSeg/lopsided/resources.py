"""Where the files that ship with the software are."""

from pathlib import Path


def resource_folder() -> Path:
    """``Resources``: inside the installed package, or beside it in the source tree and in Slicer."""
    package = Path(__file__).parent
    inside = package / "Resources"
    return inside if inside.is_dir() else package.parent / "Resources"
