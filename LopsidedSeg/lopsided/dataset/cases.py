"""Where the cases of a folder or a list are: BraTS-style case folders, BIDS, nnU-Net's raw layout, or a CSV."""

from __future__ import annotations

import csv
import re
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from ..annotation import label_names
from ..characters import plain, printable
from ..errors import InputError
from ..model import SEQUENCES
from ..naming import guess_sequence
from ..reading import readable
from ..wording import counted
from .records import DATASET, LABELS, SUFFIX, TRUST, image_path, imaged, read_layout, seen

COLUMNS = ("patient", "case", *SEQUENCES, "annotation", "labels", "reader", "whole_case")
_BRATS = {"t1c": "t1c", "t1n": "t1", "t2w": "t2", "t2f": "flair"}
_OWN_SPACE = re.compile("(orig|native|individual|subject|scanner|anat|t1.*|ce.*)?")  # BIDS' space- of the image itself
_OF_MASKS = "acq", "desc"  # what these say of a mask may be of how it was made
_LESIONS = "lesion", "tumor", "tumour", "metast"  # one of which is in the name of BIDS' mask of them
_FIRST = 5  # names in a sentence
_ENDINGS = (".nii.gz", ".nii", ".nrrd", ".mha")
_YES = {"1": True, "yes": True, "true": True, "0": False, "no": False, "false": False, "": None}


@dataclass(frozen=True)
class CaseFiles:
    """One case: ``sequences`` by name, each a file or a folder with DICOM; ``labels`` of the annotation that are
    lesions, all where empty. ``reader`` is empty and ``whole_case`` None where the source does not say.
    ``problem``: why it cannot be used, and then it has no ``sequences``."""

    patient: str
    case: str
    sequences: dict[str, Path]
    annotation: Path | None = None
    labels: tuple[str, ...] = ()
    reader: str = ""
    whole_case: bool | None = None
    problem: str = ""


def find_cases(
    source: Path, *, several_readers: bool = False, say: Callable[[str], None] = lambda sentence: None
) -> list[CaseFiles]:
    """The cases of a CSV file or of a folder, whose layout is recognised by what is in it.

    Args:
        source: the file or folder.
        several_readers: in a list, a case may be there once for each reader.
        say: gets sentences on what in a folder is no case, though its images are there.

    Raises:
        InputError: nothing there that is known, a CSV without the columns it needs, damaged or not in UTF-8, a case twice, or
            nnU-Net's label ``ignore``.
    """
    passed: list[str] = []
    if source.is_file():
        try:
            found = list(_from_csv(source))
        except UnicodeDecodeError:
            raise InputError(f"{source}: is no text in UTF-8; save it as CSV in UTF-8 (Excel: CSV UTF-8)") from None
    elif (source / DATASET).exists():
        found = list(_from_nnunet(source))
        images = imaged(source) - {case.case for case in found}
        passed += _left_out(images, "study", f"imaged without labels in {LABELS}/")
    elif any(source.glob("sub-*")):
        found, passed = _from_bids(source)
    else:
        found = list(_from_folders(source))
    if not found:
        why = "".join(f" ({sentence})" for sentence in passed)
        raise InputError(
            f"{source}: no cases here{why}; give a CSV with the columns {', '.join(COLUMNS)}, or a folder of case folders "
            "with *-t1c.nii.gz, of BIDS subjects (sub-*), or in nnU-Net's raw layout (dataset.json)"
        )
    for sentence in passed:
        say(sentence)
    # their files cannot be opened, and say so; the others can
    found = [replace(case, patient=printable(case.patient), case=printable(case.case)) for case in found]
    first: dict[tuple[str, str], CaseFiles] = {}
    for case in found:
        other = first.setdefault((case.patient, case.case), case)
        if other is case or (several_readers and other.reader != case.reader):
            continue
        mend = "give each case a name of its own"
        if other.reader != case.reader:
            readers = " and ".join(name or "one who is not named" for name in (other.reader, case.reader))
            mend = (
                f"it was read by {readers}: give a list for each reader, or what `lopsided dataset import` makes of it"
            )
        raise InputError(f"{source}: {case.patient} {case.case} is there twice; {mend}")
    return found


def _left_out(names: set[str], noun: str, why: str) -> list[str]:
    first = [*sorted(names)[:_FIRST], *(["…"] if len(names) > _FIRST else [])]
    return [f"{counted(len(names), noun)} left out, {why}: {', '.join(map(printable, first))}"] if names else []


def label_values(source: Path, wanted: tuple[str, ...]) -> tuple[str, ...]:
    """In nnU-Net's layout, whose label maps have no names, the values of labels that are named as its ``dataset.json`` does.

    Raises:
        InputError: a label that is declared there neither by name nor by value.
    """
    if not wanted or not (source / DATASET).exists():
        return wanted
    labels = read_layout(source).labels
    named = {plain(name): [value] if isinstance(value, int) else value for name, value in labels.items()}
    known = {str(value): [value] for values in named.values() for value in values} | named
    unknown = [name for name in wanted if name not in known]
    if unknown:
        raise InputError(
            f"{source / DATASET}: declares the labels {', '.join(named)}, not {', '.join(unknown)}; give names or values of those"
        )
    return tuple(str(value) for name in wanted for value in known[name])


def _from_csv(path: Path) -> Iterator[CaseFiles]:
    """Paths are relative to the CSV's own folder. Only ``t1c`` is required; a case is its own patient if none is said."""
    with readable(path), path.open(encoding="utf-8-sig", newline="") as file:
        titles = file.readline()
        file.seek(0)
        # as spreadsheets separate columns where a comma is the decimal point
        rows = csv.DictReader(file, strict=True, delimiter=";" if ";" in titles and "," not in titles else ",")
        read = 0
        lines: dict[tuple[str, ...], int] = {}
        try:
            rows.fieldnames = [name.strip() for name in rows.fieldnames or ()]
            unknown = [name for name in rows.fieldnames if name not in COLUMNS]
            if unknown or "t1c" not in rows.fieldnames:
                raise InputError(f"{path}: has columns {', '.join(rows.fieldnames)}; known are {', '.join(COLUMNS)}")
            twice = [name for name, times in Counter(rows.fieldnames).items() if times > 1]
            if twice:
                raise InputError(f"{path}: has the column {', '.join(twice)} twice; take one of them out")
            read = rows.line_num
            for row in rows:
                beyond = [cell for cell in row.pop(None, ()) if cell.strip()]
                if beyond:
                    raise InputError(
                        f"{path}, line {rows.line_num}: has more cells than there are columns ({', '.join(beyond)}); put a "
                        'cell that has a separator into quotation marks, as in "1,3"'
                    )
                case = _of_row({name: (cell or "").strip() for name, cell in row.items()}, path, rows.line_num)
                first = lines.setdefault((case.patient, case.case, case.reader), rows.line_num)
                if first != rows.line_num:
                    raise InputError(
                        f"{path}, line {rows.line_num}: {case.patient} {case.case} is in line {first} already; give each case a "
                        "name of its own, or take one of the lines out"
                    )
                yield case
                read = rows.line_num
        except csv.Error as error:
            raise InputError(
                f"{path}, line {read + 1}: is no line of a CSV ({error}); see to its quotation marks, and save the list again"
            ) from None


def _of_row(row: dict[str, str], path: Path, line: int) -> CaseFiles:
    if not row["t1c"]:
        raise InputError(f"{path}, line {line}: no t1c; each case needs post-contrast T1")
    whole = row.get("whole_case", "").lower()
    if whole not in _YES:
        raise InputError(f"{path}, line {line}: whole_case is {whole!r}; write yes or no")
    name, listed = plain(row.get("case") or _stem(Path(row["t1c"]))), plain(row.get("labels", ""))
    labels = label_names(listed) if "," in listed else tuple(listed.split())  # a name may have a space
    if listed and not labels:  # which would be all of them
        raise InputError(
            f"{path}, line {line}: labels {listed!r} names none; name those that are lesions, or leave it empty"
        )
    return CaseFiles(
        patient=plain(row.get("patient", "")) or name,
        case=name,
        sequences={s: path.parent / row[s] for s in SEQUENCES if row.get(s)},
        annotation=path.parent / row["annotation"] if row.get("annotation") else None,
        labels=labels,
        reader=plain(row.get("reader", "")),
        whole_case=_YES[whole],
    )


def _from_folders(folder: Path) -> Iterator[CaseFiles]:
    """``NAME-t1c.nii.gz`` and so on, as in BraTS."""
    for path in seen(folder, "**/*t1c.nii.gz"):
        start = path.name.removesuffix("t1c.nii.gz")
        files = {sequence: path.with_name(f"{start}{ending}.nii.gz") for ending, sequence in _BRATS.items()}
        name = start.rstrip("-_") or path.parent.name
        annotation = path.with_name(f"{start}seg.nii.gz")
        yield CaseFiles(
            patient=_patient(name),
            case=name,
            sequences={sequence: file for sequence, file in files.items() if file.exists()},
            annotation=annotation if annotation.exists() else None,
        )


def _from_bids(folder: Path) -> tuple[list[CaseFiles], list[str]]:
    """``sub-*[/ses-*]/anat``; post-contrast T1 has a ``ce-`` entity. Lesions: ``derivatives/**/*_mask`` or ``*_dseg`` that
    say so behind subject and session. And sentences on what else is there."""
    cases, images, masks = list[CaseFiles](), set[str](), set[str]()
    for entities, files, enhanced in _studies(folder):
        name = "_".join(entities)
        if not enhanced:
            images |= {name} if "t1" in files else set()
            continue
        derived = _masks(folder, entities)
        lesions = [path for path in derived if path.parent.name == "anat" and _of_lesions(path)]
        if not lesions:
            masks |= {path.relative_to(folder).as_posix() for path in derived}
        try:
            image, mask = _matched(enhanced, lesions, folder)
            cases.append(CaseFiles(entities[0], name, {"t1c": image, **files}, mask))
        except InputError as error:
            cases.append(CaseFiles(entities[0], name, {}, problem=str(error)))
    return cases, [
        *_left_out(images, "study", "T1w without a ce- entity, which post-contrast T1 has"),
        *_left_out(masks, "mask", f"not in anat/, or without {', '.join(_LESIONS)} in its name"),
    ]


def _studies(folder: Path) -> Iterator[tuple[tuple[str, ...], dict[str, Path], list[Path]]]:
    """Subject and session of each study of BIDS, its other sequences, and its post-contrast T1s."""
    for anat in sorted([*seen(folder, "sub-*/anat"), *seen(folder, "sub-*/ses-*/anat")]):
        files: dict[str, Path] = {}
        enhanced = []
        for path in seen(anat, "*.nii*"):
            suffix = _stem(path).rsplit("_", 1)[-1]
            sequence = {"T1w": "t1", "T2w": "t2", "FLAIR": "flair"}.get(suffix)
            if sequence and _entities(path).get("ce", "none") == "none":
                files.setdefault(sequence, path)
            elif sequence == "t1":
                enhanced.append(path)
        yield anat.relative_to(folder).parts[:-1], files, enhanced


def _masks(folder: Path, entities: tuple[str, ...]) -> list[Path]:
    """What is derived from a study and may be of its lesions, in ``anat`` or, where it is not looked for, beside that."""
    places = ["/".join(("derivatives/*", *entities, *more, "*.nii*")) for more in (("anat",), ())]
    return [path for place in places for path in seen(folder, place) if _stem(path).endswith(("_mask", "_dseg"))]


def _matched(images: list[Path], lesions: list[Path], folder: Path) -> tuple[Path, Path | None]:
    """The post-contrast T1 of one study and the mask of its lesions; raises InputError where names leave open which."""

    def named(paths: Iterable[Path]) -> str:
        return ", ".join(printable(path.relative_to(folder).as_posix()) for path in sorted(paths))

    space = {path: _entities(path).get("space", "") for path in [*images, *lesions]}
    own = {space[path] for path in images}
    masks = [path for path in lesions if space[path] in own or _OWN_SPACE.fullmatch(space[path])]
    if not masks:  # that of another sequence, which is of the same head
        others = {_stem(path).rsplit("_", 1)[-1].lower() for image in images for path in seen(image.parent, "*.nii*")}
        masks = [path for path in lesions if space[path] in others]
    if lesions and not masks:
        raise InputError(f"its mask is in another space than its image ({named(lesions)}); give one in the image's own")
    pairs = [(image, mask) for mask in masks for image in _fitting(mask, images)]
    if not pairs and len(images) == 1:
        pairs = [(image, mask) for mask in masks for image in _fitting(mask, images, _OF_MASKS)]
    if masks and not pairs:
        raise InputError(
            f"its mask ({named(masks)}) has other entities than its post-contrast T1 ({named(images)}); name it as its image"
        )
    found = {image for image, _ in pairs} or set(images)
    if len(found) > 1:
        which = f"its masks ({named({mask for _, mask in pairs})}) leave open" if pairs else "no mask says"
        raise InputError(
            f"it has several post-contrast T1 ({named(found)}), and {which} which is meant; take the others out, or give a CSV "
            "that lists each as a case"
        )
    if len(pairs) > 1:
        raise InputError(f"it has several masks ({named(mask for _, mask in pairs)}); unite them in one")
    return found.pop(), pairs[0][1] if pairs else None


def _fitting(mask: Path, images: list[Path], aside: Collection[str] = ()) -> list[Path]:
    """The images that a mask may be of: those that have no other value of an entity, and of them those with most in
    common, be it that all of theirs are in the mask's name. Entities of ``aside`` do not count."""
    said = _entities(mask)
    own = {path: {k: v for k, v in _entities(path).items() if k not in {"space", *aside}} for path in images}
    agreeing = [path for path in images if all(said.get(k, v) == v for k, v in own[path].items())]
    fitting = [path for path in agreeing if own[path].keys() <= said.keys()] or agreeing
    shared = {path: len(own[path].keys() & said.keys()) for path in fitting}
    return [path for path in fitting if shared[path] == max(shared.values())]


def _entities(path: Path) -> dict[str, str]:
    """BIDS' ``run-02`` and so on, of a file's name; values as they are compared, without case, and 02 as 2."""
    entities = (part.split("-", 1) for part in _stem(path).split("_") if "-" in part)
    return {key: str(int(value)) if value.isdecimal() else value.casefold() for key, value in entities}


def _of_lesions(path: Path) -> bool:
    """Whether a file's name says so behind its subject and session, who may be called anything."""
    parts = [part for part in _stem(path).lower().split("_") if not part.startswith(("sub-", "ses-"))]
    return any(word in part for part in parts for word in _LESIONS)


def _from_nnunet(folder: Path) -> Iterator[CaseFiles]:
    record = read_layout(folder)
    channels = record.channel_names
    if "ignore" in record.labels:  # nnU-Net's word for what is neither lesion nor background
        raise InputError(
            f"{folder / DATASET}: its label 'ignore' cannot be used; make its voxels 0 in {LABELS} and take it out of "
            f"{DATASET}; where nobody looked, {TRUST} may say so"
        )
    sequences = {number: name if name in SEQUENCES else guess_sequence(name) for number, name in channels.items()}
    if "t1c" not in sequences.values():
        named = ", ".join(channels.values())
        raise InputError(f"{folder / DATASET}: none of its channels ({named}) is named as post-contrast T1; rename it")
    for sequence in SEQUENCES:
        same = [f"{number} ({channels[number]})" for number, name in sequences.items() if name == sequence]
        if len(same) > 1:
            raise InputError(
                f"{folder / DATASET}: its channels {' and '.join(same)} are both {SEQUENCES[sequence]}; rename those that are not meant"
            )
    for label in seen(folder / LABELS, f"*{SUFFIX}"):
        name = label.name.removesuffix(SUFFIX)
        files = {s: folder / image_path(name, n) for n, s in sequences.items() if s}
        yield CaseFiles(_patient(name), name, {s: path for s, path in files.items() if path.exists()}, label)


def _patient(case: str) -> str:
    """``MET-00005-002`` is a time point of patient ``MET-00005``, as in BraTS; ``case-002`` is a patient."""
    return re.sub(r"(?<=\d)-\d{3}$", "", case)


def _stem(path: Path) -> str:
    for ending in _ENDINGS:
        if path.name.endswith(ending):
            return path.name.removesuffix(ending)
    return path.name
