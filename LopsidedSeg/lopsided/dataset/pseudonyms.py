"""Names that say nothing without the key, which the user keeps."""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
from contextlib import suppress
from pathlib import Path
from tempfile import mkstemp

from ..characters import plain
from ..errors import InputError

_BYTES = 32


class Key:
    """Pseudonyms by keyed hash (HMAC-SHA-256): the same for the same name, and for nobody else to undo or to guess."""

    def __init__(self, secret: bytes) -> None:
        self._secret = secret

    def of(self, kind: str, *names: str) -> str:
        """``kind`` is a letter in front, so that a reader is never taken for a patient. Names that :func:`.characters.plain`
        does not tell apart are one."""
        text = "\x1f".join((kind, *map(plain, names))).encode()
        return kind + hmac.new(self._secret, text, hashlib.sha256).hexdigest()[:12].upper()


def read_key(path: Path) -> Key:
    """The key in a file; a new one, for its owner alone to read, where there is none.

    Raises:
        InputError: a file that is no key, or that cannot be read or written.
    """
    try:
        if not path.exists():
            _make(path)
        secret = bytes.fromhex(path.read_text(encoding="ascii").strip())
    except OSError as error:
        raise InputError(f"{path}: no key can be kept here ({error.strerror}); choose another file") from None
    except ValueError:
        secret = b""
    if len(secret) != _BYTES:
        raise InputError(f"{path}: is no key of pseudonyms; choose another file, and one is made")
    return Key(secret)


def _make(path: Path) -> None:
    """A new key, whole or not at all, for a full disk must not leave half of one; one that is made meanwhile stays."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, name = mkstemp(prefix=f".{path.name}.", dir=path.parent)  # for its owner alone
    try:
        with os.fdopen(descriptor, "w", encoding="ascii") as file:
            file.write(secrets.token_hex(_BYTES) + "\n")
            file.flush()
            os.fsync(file.fileno())
        try:
            os.link(name, path)
        except OSError:  # the file system has no links, or it is there by now, be it as a link to a drive that is not
            with suppress(FileExistsError):
                path.touch(0o600, exist_ok=False)  # of several programs, one alone can
                Path(name).replace(path)
    finally:
        Path(name).unlink(missing_ok=True)
