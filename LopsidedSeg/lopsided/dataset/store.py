"""Changes of a dataset's folder that happen as a whole or not at all.

What is to change is written to ``.pending/`` first; then one file, ``COMMIT.json``, decides: with it the change is carried
out, now or by whoever opens the dataset next, and without it the change never was. A file that cannot be moved, as another
program may hold it, takes the decision back: what was moved already moves back. A lock keeps two writers apart, and
``hashes.json`` says what each file must hold.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from uuid import uuid4

from filelock import FileLock, Timeout

from ..characters import check_name
from ..errors import InputError
from ..reading import readable
from .records import DATASET, HASHES, READINGS, REVIEWS, seen

PENDING, COMMIT, LOCK = ".pending", "COMMIT.json", ".lock"
_BEFORE = ".before"  # within a pending change: what it took out of the dataset
_PATIENCE_S = 60.0
RESTORE = "restore it from a copy, or export to a new dataset"
_CHANGED = "is not what was exported: it was changed or damaged since"
_REMOVE = "remove the case with `lopsided dataset remove`"
_AFRESH = f"{_REMOVE} and export its readings again"


class Change:
    """What one writer is about to change. Paths are relative to the dataset, with forward slashes."""

    def __init__(self, folder: Path, pending: Path) -> None:
        self._folder, self._pending = folder, pending
        self._removed: set[str] = set()

    def path(self, name: str) -> Path:
        """Where to write the file that becomes ``name``."""
        path = self._pending / name
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def current(self, name: str) -> Path:
        """Where ``name`` is as far as this change knows: as changed, else as it was."""
        return self._pending / name if (self._pending / name).exists() else self._folder / name

    def remove(self, name: str) -> None:
        """``name`` goes with this change."""
        self._removed.add(name)

    def _files(self) -> dict[str, str]:
        paths = (path for path in self._pending.rglob("*") if path.is_file())
        return {path.relative_to(self._pending).as_posix(): digest(path) for path in paths}


def lacks_hashes(folder: Path) -> bool:
    """Whether it is one of ours, whose hashes are gone; raises as :func:`hashes`."""
    return any(seen(folder / REVIEWS, "*.json")) and not hashes(folder)


@contextmanager
def change(folder: Path) -> Iterator[Change]:
    """Change a dataset: when the block ends well all that was written takes its place, else nothing does.

    Raises:
        InputError: no folder, another writer does not let go of it, it cannot be written (no permission, no space, a name
            that is not in UTF-8), or its hashes are missing or damaged.
    """
    if folder.is_file():
        raise InputError(f"{folder}: is a file; choose a folder for the dataset")
    check_name(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(folder / LOCK, timeout=_PATIENCE_S):
            _recover(folder)
            # not for its owner alone: whoever comes next may have to complete it
            pending = folder / PENDING / uuid4().hex
            pending.mkdir(parents=True)
            try:
                draft = Change(folder, pending)
                yield draft
                _commit(folder, pending, draft)
            finally:
                if not (pending / COMMIT).exists():
                    shutil.rmtree(pending, ignore_errors=True)
            _recover(folder)
    except Timeout:
        raise InputError(f"{folder}: another export is writing to it; wait for that one, and try again") from None
    except OSError as error:
        where, reason = _blamed(error, folder), error.strerror or str(error)
        raise InputError(
            f"{where}: cannot be read or written ({reason}), and nothing was changed; close what has it open, or make it and its "
            "folder writable with enough space, and export again"
        ) from None


def recover(folder: Path) -> None:
    """Carry out a change that was decided on and interrupted; take away one that was not, where this may be written."""
    decided = any((folder / PENDING).glob(f"*/{COMMIT}"))
    if decided or ((folder / PENDING).is_dir() and os.access(folder, os.W_OK)):
        with change(folder):
            pass


def hashes(folder: Path) -> dict[str, str]:
    """SHA-256 by file, as written; empty where there is none. Raises InputError where they cannot be read."""
    path = folder / HASHES
    with readable(path):
        text = path.read_bytes() if path.exists() else b"{}"
    try:
        content = json.loads(text)
        if not isinstance(content, dict):
            raise ValueError("not a hash for each file")
    except ValueError as error:
        raise InputError(f"{path}: not readable ({error}); restore it from a copy") from None
    return content


def digest(path: Path) -> str:
    """SHA-256 of a file, or of the names and contents of a folder's files."""
    if path.is_dir():
        files = sorted(file for file in path.rglob("*") if file.is_file())
        names = "".join(f"{file.relative_to(path).as_posix()} {digest(file)}\n" for file in files)
        return hashlib.sha256(names.encode()).hexdigest()
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def fault(folder: Path, name: str, expected: str | None) -> tuple[str, str] | None:
    """What is wrong with a file, whose hash is ``expected`` by :func:`hashes`, and how to mend that; None if nothing is.

    Raises:
        OSError: it cannot be read.
    """
    path = folder / name
    if expected is None:
        return ("was not put here by an export", "move it elsewhere") if path.exists() else None
    if not path.exists():
        return "is missing", mend(name)
    path.open("rb").close()  # for a folder has a digest too
    return None if digest(path) == expected else (_CHANGED, mend(name))


def mend(name: str) -> str:
    """What to do about a file of a dataset that is missing, or not what was exported."""
    again = {
        DATASET: "or export one of its cases again",
        READINGS: f"export this reader's work on the case again, or {_AFRESH}",
        REVIEWS: f"or {_AFRESH}",  # no export knows what other readers said
    }
    other = f"export its case again, or {_REMOVE}"
    return f"restore it from a copy, {again.get(name.partition('/')[0], other)}"


def _commit(folder: Path, pending: Path, draft: Change) -> None:
    changed = draft._files()
    if not changed and not draft._removed:
        return
    if lacks_hashes(folder):
        raise InputError(f"{folder / HASHES}: is missing or empty, and nothing was changed; {RESTORE}")
    known = {name: value for name, value in hashes(folder).items() if name not in draft._removed} | changed
    _write(draft.path(HASHES), known)
    for path in pending.rglob("*"):
        if path.is_file():
            _to_disk(path)
    _write(pending / f"{COMMIT}.part", {"files": [*changed, HASHES], "removed": sorted(draft._removed)})
    _to_disk(pending / f"{COMMIT}.part")
    (pending / f"{COMMIT}.part").replace(pending / COMMIT)  # decided
    _to_disk(pending)


def _recover(folder: Path) -> None:
    if not (folder / PENDING).is_dir():
        return
    for pending in sorted((folder / PENDING).iterdir()):
        try:
            if (pending / COMMIT).exists():
                _carry_out(folder, pending)
        finally:
            if not (pending / COMMIT).exists():
                shutil.rmtree(pending, ignore_errors=True)
    with suppress(OSError):  # a file that another process holds open
        (folder / PENDING).rmdir()


def _carry_out(folder: Path, pending: Path) -> None:
    """A change that was decided on, from wherever it was interrupted. Each file is in one place at any moment.

    Raises:
        OSError: a file cannot be moved; the dataset is as it was before the change.
        InputError: as that, and it cannot be made so; the change stays decided on.
    """
    todo = json.loads((pending / COMMIT).read_text(encoding="utf-8"))
    try:
        for name in todo["removed"]:
            _move(folder / name, pending / _BEFORE / name)
        for name in todo["files"]:
            if (pending / name).exists():  # else it was moved before the interruption
                _move(folder / name, pending / _BEFORE / name)
                _move(pending / name, folder / name)
        _to_disk(folder)
        (pending / COMMIT).unlink()
    except OSError as error:
        try:
            _take_back(folder, pending, todo["files"], todo["removed"])
        except OSError:
            raise InputError(
                f"{_blamed(error, folder)}: cannot be moved ({error.strerror}), and the export is half done; close what has "
                f"it open, and it will be completed by `lopsided dataset check {folder}` or by the next export"
            ) from None
        raise


def _take_back(folder: Path, pending: Path, files: list[str], removed: list[str]) -> None:
    for name in files:
        if not (pending / name).exists():
            _move(folder / name, pending / name)
    for name in (*files, *removed):
        _move(pending / _BEFORE / name, folder / name)
    (pending / COMMIT).unlink()


def _move(path: Path, to: Path) -> None:
    """A file, where it is there."""
    if path.exists():
        to.parent.mkdir(parents=True, exist_ok=True)
        path.replace(to)


def _blamed(error: OSError, folder: Path) -> Path:
    """The dataset's own file that an error is about, else the dataset; never one that the user does not know of."""
    named = [Path(str(name)) for name in (error.filename2, error.filename) if name]
    return next((path for path in named if PENDING not in path.parts), folder)


def _write(path: Path, content: object) -> None:
    path.write_text(json.dumps(content, indent=1, sort_keys=True) + "\n", encoding="utf-8")


def _to_disk(path: Path) -> None:
    """Through to the disk; a folder too, where the system knows of that."""
    if path.is_dir() and os.name == "nt":
        return
    descriptor = os.open(path, os.O_RDONLY if os.name != "nt" else os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
