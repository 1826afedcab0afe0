"""Which sequence an image is, from what people and scanners call it. Plain Python, as :mod:`lopsided.review`."""

from __future__ import annotations

import re
import unicodedata

_AGENT = r"(?:m?km|mdc|iv|ce|gd|gad|gado\w*|gada\w*|contr|contrast\w*|kontras\w*|enh\w*|inj|inject\w*|plus)"
_NONE = r"(?:pre|prae?|non|nativ\w?|without|wo|plain|ohne|sans|senza|zonder|utan|uden|uten)"
_NONE_BEFORE = (
    r"(?:no|un|sin|sem|bez|minus|before|vor|avant|antes|prima)"  # the agent; elsewhere they may mean anything
)
_WITH = r"(?:w|with|mit|avec|con|met|c)"
_AND = r"(?:and|und|et|y|e|en)"

_SPELLED = [  # signs, and words written together: as words between blanks, one after the other
    (re.compile(pattern), spelled)
    for pattern, spelled in (
        (r"\+ ?/ ?-|\+-|-/\+|±", " w wo "),
        (r"(?<![a-z])w ?/ ?o(ut)?(?![a-z])", " wo "),
        (r"(?<![a-z0-9])c ?\+|\+ ?c(?![a-z0-9])|(?<=t1)\+|(?<=t1w)\+", " plus "),
        (r"(?<![a-z])(c|iv)-(?![a-z0-9])|(?<=[\s_(])-c(?![a-z0-9])", " wo plus "),
        (r"^sub[-_](?=[a-z])", " "),  # a subject, as in "sub-01"
        (r"(?<![a-z0-9])sub(?![a-z0-9]|[-_ ]?\d|-[a-z])", " subtraction "),
        # "s/ contraste", "o. KM"; but not the end of "F/S GD", fat saturation
        (rf"(?<![a-z0-9./_-])[so][./] ?(?={_AGENT}(?![a-z]))|(?<![a-z])o ?(?=m?km(?![a-z]))", " ohne "),
        (r"(?<![a-z0-9])(fla|t2f)(?![a-z])|dark[ _-]?fluid", " flair "),
        (r"t2(\*|[ _-]?star(?![a-z]))", " star "),
        (r"[\s_\-.,;:/\\()\[\]^&|+]+", " "),
        (r"(?<![a-z0-9])([23]d|ax|tra|sag|cor|[se])(?=t[12](?!\d)|flair)", r"\1 "),
        (rf"(?<![a-z0-9])(c|{_AGENT})(?=t1(w|wi)?(?![a-z0-9]))", "plus "),
        (r"(?<=(?<![a-z0-9])t1)(w|wi)?c(?![a-z0-9])", " plus "),
        (
            rf"(?<![a-z0-9])(t[12])(w|wi|weighted)?(?=(n|se|tse|fse|tfe|ffe|gre|fs|fatsat|ir|tirm|flair|mpr|mprage|cube|space|vibe|map"
            rf"|blade|dixon|rare|[23]d|fl[23]d|ax|axial|tra|sag|cor|{_NONE}|post\w*|{_AGENT})?(?![a-z0-9]))",
            r"\1 ",
        ),
        (rf"(mprage|bravo|spgr|vibe)(?=(post\w*|{_AGENT})(?![a-z]))", r"\1 "),
        (rf"(?<![a-z])(prae?|pre|post|non|no|un)(?=({_AGENT}|con|cont)(?![a-z]))", r"\1 "),
    )
]
_SAID = re.compile(  # of contrast
    rf"""(?<![a-z])(?:
      (?P<nothing>(?:{_NONE}|no)[ ](?:fs|fat\w*|sat\w*|mtc?|dixon)
        |(?:pre|post)[ ]?(?:op|operative?|surg\w*|srs|gk|gamma|rt|radi\w*|treat\w*|tx|biopsy|fossa))
      |(?P<both>(?:w[ ]wo|{_WITH}[ ]{_AND}[ ]{_NONE}|(?:{_NONE}|before|vor|avant|antes)[ ]{_AND}[ ]\w+)(?:[ ]{_AGENT})*)
      |(?P<without>(?:{_NONE}|{_NONE_BEFORE})(?:[ ](?:iv|the|de|del|any))?[ ](?:{_AGENT}|cont?|c)|{_NONE})
      |(?P<with>(?:w|c)[ ]c(?:ont?)?|post|{_AGENT})
    )(?![a-z])""",
    re.VERBOSE,
)
_FLAIR = re.compile(r"(?<![a-z])(t2)?flair(?![a-z])")
_T1_FLAIR = re.compile(
    rf"(?<![a-z0-9])t1 ((se|tse|fse|ir|tirm|ax|axial|tra|sag|sagittal|cor|coronal|[23]d|post|{_AGENT}) )*flair(?![a-z])"
)
_T1 = re.compile(r"(?<![a-z0-9])t1(?![a-z0-9])|mprage|bravo|spgr")
_T1_WHERE_ENHANCED = re.compile(r"^(?!.*(?<![a-z])(pdw?|mra|mrv)(?![a-z])).*(vibe|lava|thrive|tfe|flash)")
_T2 = re.compile(r"(?<![a-z0-9])t2(?![a-z0-9])")
_OTHER = re.compile(
    r"(?<![a-z])(star|tof|swi|swan|dwi|adc|dti|dsc|dce|dyn|dynamic|perf\w*|maps?|mapping|subtract\w*)(?![a-z])"
)
_WORD = re.compile(r"[^\s_\-.,;:/\\()\[\]]+")
_HOW = re.compile(  # words on how an image was made, which are no part of a case's name
    rf"{_AGENT}|c\+|\+c|post|{_NONE}|ax|axial|tra|sag|sagittal|cor|coronal|[23]d|se|tse|fse|tfe|vibe|space"
    r"|flash|fspgr|dark|dwi|adc|swi"
)


def guess_sequence(name: str) -> str | None:
    """``t1c``, ``t1``, ``t2`` or ``flair``; None where the name does not say, or says two things at once."""
    text = "".join(c for c in unicodedata.normalize("NFKD", name.lower()) if not unicodedata.combining(c))
    for pattern, spelled in _SPELLED:
        text = pattern.sub(spelled, text)
    text = " ".join(text.split())
    if _FLAIR.search(text) and not _T1_FLAIR.search(text):
        return "flair"
    t1, t2 = _T1.search(text), _T2.search(text)
    if t2:
        return None if t1 else "t2"
    said = {match.lastgroup for match in _SAID.finditer(text)} - {"nothing"}
    if _OTHER.search(text) or {"with", "without"} <= said or said == {"both"}:
        return None
    if "with" in said:
        return "t1c" if t1 or _T1_WHERE_ENHANCED.search(text) else None
    return "t1" if t1 else None


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
