"""What cannot be written is the user's to mend, and leaves what was there before."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lopsided.errors import InputError


@contextmanager
def writable(path: Path) -> Iterator[None]:
    """What the system says in the block, as of a full disk, is said of ``path``, as an InputError."""
    try:
        yield
    except OSError as error:
        raise InputError(
            f"{path}: cannot be written ({error.strerror or error}); free some space, or choose another --out"
        ) from None


@contextmanager
def whole(path: Path) -> Iterator[Path]:
    """A file beside ``path``, to be written in the block and to replace it then, when it is on the disk: a kill, or the end of
    the power, leaves what was before. Raises InputError where it cannot be written, and leaves nothing of it."""
    partial = path.with_suffix(".partial")
    try:
        with writable(path):
            yield partial
            with partial.open("rb+") as file:
                os.fsync(file.fileno())
            partial.replace(path)
    except InputError:
        if partial.is_file():
            partial.unlink()
        raise
