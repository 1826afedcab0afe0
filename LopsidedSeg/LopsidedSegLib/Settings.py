"""What a user sets once, kept in the application's settings."""

import getpass
from contextlib import suppress
from pathlib import Path

import slicer
from lopsided.wording import METASTASIS

MODELS = Path(__file__).parents[1] / "Resources" / "Models"


class Settings:
    """Read and written at once, so that two windows of the application agree.

    Usage example::

        settings = Settings()
        settings.reader = "Dr. Ray"
        settings.folder = Path("/shared/reviews")
    """

    def __init__(self) -> None:
        self.worklistLogs: Path | None = None  # where the logs of a worklist's cases go, while one is open

    @property
    def reader(self) -> str:
        """Who decides; the computer's user name where it is not set."""
        return self._get("Reader") or _user()

    @reader.setter
    def reader(self, name: str) -> None:
        self._set("Reader", name)

    @property
    def folder(self) -> Path | None:
        """The folder chosen for logs of decisions; None where none is."""
        return self._path("ReviewFolder")

    @folder.setter
    def folder(self, folder: Path | None) -> None:
        self._set("ReviewFolder", folder)

    @property
    def logFolder(self) -> Path | None:
        """Where a log goes now: to the folder chosen, else with the worklist that is open, else beside the scene, else,
        for a scene never saved, nowhere."""
        scene = self.sceneFile
        return self.folder or self.worklistLogs or (scene and scene.parent)

    @property
    def sceneFile(self) -> Path | None:
        """What the scene was saved as; None where it never was, or where that folder is gone, or cannot be reached."""
        file = Path(slicer.mrmlScene.GetURL() or "")
        with suppress(OSError):
            return file if file.is_absolute() and file.parent.is_dir() else None
        return None

    @property
    def model(self) -> str | None:
        """The model that searches use: a folder, or the name of one that came with the extension; None for the first of
        these, whichever that is after an update."""
        chosen = self._path("Model")
        return str(chosen) if chosen else None  # as this system writes it: Qt's dialogs give forward slashes

    @model.setter
    def model(self, model: str | None) -> None:
        folder, bundled = Path(model or ""), self._bundled()
        name = folder.name if folder.parent == MODELS else model  # an update puts them elsewhere
        self._set("Model", None if name in bundled[:1] else name)

    def models(self) -> dict[str, str]:
        """Name by what :attr:`model` has: those that came with the extension, and the one chosen, if it is another."""
        chosen = {self.model: Path(self.model).name} if self.model else {}
        return {name: name for name in self._bundled()} | chosen

    @staticmethod
    def _bundled() -> list[str]:
        return sorted(path.parent.name for path in MODELS.glob("*/model.json"))

    @property
    def terminology(self) -> str:
        """What an accepted lesion is, as Slicer writes a terminology entry; a brain metastasis where it is not set."""
        return self._get("Terminology") or METASTASIS

    @terminology.setter
    def terminology(self, entry: str) -> None:
        self._set("Terminology", entry)

    @property
    def diameter(self) -> float:
        """Of the next point that marks a lesion, mm: the last one chosen."""
        return float(self._get("Diameter") or 6.0)

    @diameter.setter
    def diameter(self, diameter: float) -> None:
        self._set("Diameter", f"{diameter:g}")

    @property
    def dataset(self) -> Path | None:
        """The folder of the dataset that cases are exported to; None where none was chosen."""
        return self._path("Dataset")

    @dataset.setter
    def dataset(self, folder: Path | None) -> None:
        self._set("Dataset", folder)

    @property
    def keyFile(self) -> Path:
        """The key of the pseudonyms, beside the application's own settings."""
        return Path(slicer.app.userSettings().fileName()).parent / "LopsidedSeg-pseudonyms.key"

    def _get(self, key: str) -> str:
        return slicer.app.userSettings().value(f"LopsidedSeg/{key}", "")

    def _path(self, key: str) -> Path | None:
        value = self._get(key)
        return Path(value) if value else None

    def _set(self, key: str, value: str | Path | None) -> None:
        slicer.app.userSettings().setValue(f"LopsidedSeg/{key}", str(value or ""))


def _user() -> str:
    try:
        return getpass.getuser().encode(errors="replace").decode()  # it need not be text, which logs are
    except (KeyError, OSError, ImportError):  # by version and system: this user has no name
        return "reader"


def terminologyName(entry: str) -> str:
    """What a terminology entry is called: its type, and its modifier if it has one."""
    _context, _category, kind, modifier, *_anatomy = [*entry.split("~"), "", "", "", ""]
    names = [part.split("^")[-1] for part in (kind, modifier)]
    return ", ".join(name for name in names if name)
