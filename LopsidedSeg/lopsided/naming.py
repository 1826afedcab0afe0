"""Which sequence an image is, from what people and scanners call it. Plain Python, as :mod:`lopsided.review`."""

from __future__ import annotations

import re

_CONTRAST = r"(gd|gado\w*|contrast|enh\w*|post|ce|gad|km|iv|c\+|\+c)"
_RULES = (
    ("flair", r"(?<![a-z])(t2)?flair(?![a-z])|(?<![a-z0-9])(fla|t2f)(?![a-z])|dark ?fluid"),
    ("t1c", r"(?<![a-z0-9])(t1c|t1ce|t1gd|ct1|t1post|t1km|t1wce|cet1)(?![a-z0-9])"),
    ("t1c", rf"(?=.*(t1|mprage|bravo|spgr|vibe|space|tfe|tse|flash|fspgr))(?=.*(?<![a-z]){_CONTRAST}(?![a-z]))"),
    ("t1", r"(?<![a-z0-9])(t1|t1n|t1w|t1pre)(?![a-z0-9])|mprage|bravo|spgr"),
    ("t2", r"(?<![a-z0-9])(t2|t2w|t2tse|t2fse)(?![a-z0-9*])"),
)
_NOT_POST = re.compile(r"(?<![a-z])(pre|non|ohne|without|native|w/?o)(?![a-z])")
_WORD = re.compile(r"[^\s_\-.,;:/\\()\[\]]+")
_HOW = re.compile(  # words on how an image was made, which are no part of a case's name
    rf"{_CONTRAST}|pre|non|ohne|without|native|ax|axial|tra|sag|sagittal|cor|coronal|[23]d|se|tse|fse|tfe|vibe|space"
    r"|flash|fspgr|dark|dwi|adc|swi"
)


def guess_sequence(name: str) -> str | None:
    """``t1c``, ``t1``, ``t2`` or ``flair``; None where the name does not say."""
    text = re.sub(r"[_\-.,;:/\\()\[\]]+", " ", name.lower())
    plain = _NOT_POST.search(text) is not None
    for sequence, pattern in _RULES:
        if sequence == "t1c" and plain:
            continue
        if re.search(pattern, text):
            return sequence
    return None


def guess_sequences(names: dict[str, str]) -> dict[str, str]:
    """Sequence to identifier, of ``names`` (identifier to name): only where exactly one name says so."""
    found: dict[str, list[str]] = {}
    for identifier, name in names.items():
        sequence = guess_sequence(name)
        if sequence:
            found.setdefault(sequence, []).append(identifier)
    return {sequence: identifiers[0] for sequence, identifiers in found.items() if len(identifiers) == 1}


def case_name(name: str) -> str:
    """Of an image's name, what stands before the first word on its sequence, contrast or plane: ``Doe_01`` of
    ``Doe_01 AX T1 post``. Empty where nothing does, or where no word is such a one."""
    for word in _WORD.finditer(name):
        if guess_sequence(word.group()) or _HOW.fullmatch(word.group().lower()):
            return name[: word.start()].rstrip(" _-.,;:/\\([")
    return ""
