"""Names that say nothing without the key, which the user keeps."""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
from pathlib import Path

from ..errors import InputError

_BYTES = 32


class Key:
    """Pseudonyms by keyed hash (HMAC-SHA-256): the same for the same name, and for nobody else to undo or to guess."""

    def __init__(self, secret: bytes) -> None:
        self._secret = secret

    def of(self, kind: str, *names: str) -> str:
        """``kind`` is a letter in front, so that a reader is never taken for a patient."""
        text = "\x1f".join((kind, *names)).encode()
        return kind + hmac.new(self._secret, text, hashlib.sha256).hexdigest()[:12].upper()


def read_key(path: Path) -> Key:
    """The key in a file; a new one, for its owner alone to read, where there is none.

    Raises:
        InputError: a file that is no key, or that cannot be read or written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        except FileExistsError:
            secret = bytes.fromhex(path.read_text(encoding="ascii").strip())
        else:
            secret = secrets.token_bytes(_BYTES)
            with os.fdopen(descriptor, "w", encoding="ascii") as file:
                file.write(secret.hex() + "\n")
    except OSError as error:
        raise InputError(f"{path}: no key can be kept here ({error.strerror}); choose another file") from None
    except ValueError:
        secret = b""
    if len(secret) != _BYTES:
        raise InputError(f"{path}: is no key of pseudonyms; choose another file, and one is made")
    return Key(secret)
