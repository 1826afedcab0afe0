"""Names as they are compared, and text that is not in UTF-8: what headers say is decoded, and what a path is called refused. SimpleITK gives a byte that is no
UTF-8 as a surrogate, which no file or screen takes, and ends the process where it is given one. Plain Python."""

from __future__ import annotations

import re
from pathlib import Path
from unicodedata import normalize

from .errors import InputError

_SETS = {  # Python's codec, by what DICOM's Specific Character Set (0008,0005) says
    "ISO_IR 101": "iso8859_2",
    "ISO_IR 109": "iso8859_3",
    "ISO_IR 110": "iso8859_4",
    "ISO_IR 144": "iso8859_5",
    "ISO_IR 127": "iso8859_6",
    "ISO_IR 126": "iso8859_7",
    "ISO_IR 138": "iso8859_8",
    "ISO_IR 148": "iso8859_9",
    "ISO_IR 203": "iso8859_15",
    "ISO_IR 166": "tis_620",
    "ISO_IR 13": "shift_jis",
    "ISO_IR 192": "utf_8",
    "GB18030": "gb18030",
    "GBK": "gbk",
}
_ESCAPED = {  # and by the escape sequence that the text is in from there on (ISO 2022)
    b"-A": "latin_1",
    b"-B": "iso8859_2",
    b"-C": "iso8859_3",
    b"-D": "iso8859_4",
    b"-L": "iso8859_5",
    b"-G": "iso8859_6",
    b"-F": "iso8859_7",
    b"-H": "iso8859_8",
    b"-M": "iso8859_9",
    b"-b": "iso8859_15",
    b"-T": "tis_620",
    b"(J": "shift_jis",
    b")I": "shift_jis",
    b"$B": "iso2022_jp_2",
    b"$(D": "iso2022_jp_2",
    b"$)C": "euc_kr",
    b"$)A": "gb2312",
}
_ESCAPE = re.compile(rb"\x1b([ -/]+[0-~])")


def decoded(text: str, sets: str = "") -> str:
    """What SimpleITK read in a header, in the characters that were meant.

    Args:
        text: with a surrogate for each byte that is no UTF-8.
        sets: what a DICOM file says of its character sets. Where that is Latin-1, which is said of UTF-8 too, or nothing that is
            known, as in other files, the text is in UTF-8, or else in Latin-1.
    """
    raw = text.encode("utf-8", "surrogateescape")
    codec = _SETS.get(sets.split("\\")[0].strip().replace("ISO 2022 IR", "ISO_IR"), "")
    if "\\" not in sets and "ISO 2022" not in sets:
        return _decoded(raw, codec)
    first, *others = _ESCAPE.split(raw)  # the text before the first sequence, then each with the text after it
    found = _decoded(first, codec)
    for escape, part in zip(others[::2], others[1::2], strict=True):
        now = _ESCAPED.get(escape, codec)  # ASCII's says nothing of bytes that are none
        found += _decoded(b"\x1b" + escape + part if now == "iso2022_jp_2" else part, now)
    return found


def _decoded(raw: bytes, codec: str) -> str:
    if codec:
        return raw.decode(codec, "replace")
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        return raw.decode("latin_1")


def plain(name: str) -> str:
    """A name as it is compared: without blanks around it, and however a letter with an accent was put together, as no eye sees
    either."""
    return normalize("NFC", name.strip())


def printable(name: object) -> str:
    """A path, or a part of one, as it can be shown: a byte that is no UTF-8 as ``\\xf6``."""
    return str(name).encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def is_hidden(name: str) -> bool:
    """Whether a file is called as what systems put into folders by themselves, or do not show."""
    return name.startswith(".") or name.lower() in ("thumbs.db", "desktop.ini")


def check_name(path: Path) -> None:
    """Raises InputError for a path that SimpleITK cannot be given, and says which file or folder of it is called so."""
    whole = path.absolute()
    for part in (*reversed(whole.parents), whole):
        if printable(part) != str(part):
            raise InputError(
                f"{printable(part)}: its name is not in UTF-8, and the image library cannot open it; give it another name"
            )
