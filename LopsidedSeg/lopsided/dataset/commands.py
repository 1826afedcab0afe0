"""``lopsided export`` and ``lopsided dataset``: for teams that do not work in Slicer."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from ..annotation import absent, described, label_names, read_labels
from ..characters import plain
from ..errors import InputError
from ..model import SEQUENCES
from ..reading import read_study
from ..wording import counted, place
from ..worklist import Worklist
from .cases import CaseFiles, find_cases, label_values
from .check import check_dataset
from .export import export_reading, remove_case
from .inputs import read_markups, read_reading, read_reviewed
from .pseudonyms import read_key
from .records import DATASET, REVIEWS, TRUST, DatasetRecord, names_in, read_record
from .stats import SIZES_MM, Missed, Stats, dataset_stats, size_name
from .work import reading_of_work

DEFAULT_KEY = Path(typer.get_app_dir("lopsided")) / "pseudonyms.key"

dataset = typer.Typer(help="Coarse-label datasets: what readers marked and decided, to train on.", no_args_is_help=True)
console = Console(markup=False, highlight=False)  # names and paths may have brackets
_Key = Annotated[
    Path, typer.Option(help="The key of the pseudonyms: yours to keep, made if it is not there.", show_default=True)
]


def export_command(
    reference: Annotated[Path, typer.Argument(help="Post-contrast T1: NIfTI, NRRD, MHA, or a folder with DICOM.")],
    to: Annotated[Path, typer.Option(help="The dataset's folder; made if it is not there.")],
    patient: Annotated[str, typer.Option(help="Who it is; only a pseudonym is written.")],
    reader: Annotated[str, typer.Option(help="Who read it; only a pseudonym is written.")],
    case: Annotated[str, typer.Option(help="Which of the patient's studies.")] = "1",
    t1: Annotated[Path | None, typer.Option(help="T1 before contrast.")] = None,
    t2: Annotated[Path | None, typer.Option(help="T2.")] = None,
    flair: Annotated[Path | None, typer.Option(help="FLAIR.")] = None,
    annotation: Annotated[
        Path | None, typer.Option(help="Outlined lesions: a label map, .seg.nrrd or DICOM SEG.")
    ] = None,
    labels: Annotated[str, typer.Option(help="Labels of the annotation that are lesions: 1,4. All if not given.")] = "",
    marks: Annotated[
        list[Path] | None, typer.Option(help="Coarse marks: a Slicer markups file (.mrk.json). Several are possible.")
    ] = None,
    snap: Annotated[bool, typer.Option(help="Fit each mark to the bright region in it.")] = False,
    result: Annotated[
        Path | None, typer.Option(help="The folder of `lopsided suggest` that was reviewed; with --review.")
    ] = None,
    review: Annotated[Path | None, typer.Option(help="The log of the review (.review.jsonl); with --result.")] = None,
    whole_case: Annotated[
        bool, typer.Option(help="All of the case was looked at: the rest of it is negative.")
    ] = False,
    again: Annotated[bool, typer.Option(help="Replace the images of a case that was exported before.")] = False,
    key: _Key = DEFAULT_KEY,
) -> None:
    """Add one reader's work on a case to a dataset, or replace what they had exported of it."""
    for option, name in (("--patient", patient), ("--case", case), ("--reader", reader)):
        _refuse_blank(option, name)
    if (result is None) != (review is None):
        raise InputError("--result and --review belong together; give both or none")
    given = {"t1c": reference, "t1": t1, "t2": t2, "flair": flair}
    study = read_study({name: path for name, path in given.items() if path is not None})
    reading = read_reading(
        reader,
        study.reference,
        annotation=annotation,
        labels=label_names(labels),
        marks=[(mark, None) for mark in read_markups(*(marks or []))],
        snapped=snap,
        reviewed=read_reviewed(result, review, study.reference) if result and review else None,
        whole_case=whole_case,
        say=lambda sentence: console.print(sentence.capitalize()),
    )
    name = export_reading(to, study, reading, patient=patient, case=case, key=read_key(key), again=again)
    found = Counter(lesion.kind for lesion in reading.lesions)
    kinds = ", ".join(f"{kind}: {count}" for kind, count in sorted(found.items()))
    lesions = counted(found.total(), "lesion") + (f" ({kinds})" if kinds else "")
    decided = f"{counted(len(reading.decisions), 'suggestion')} with what was decided"
    console.print(f"{name}: {lesions}, {decided}")
    _say_dropped(to, [study.others])


@dataset.command("import")
def import_command(
    source: Annotated[
        Path, typer.Argument(help="A CSV, or a folder of BraTS-style cases, BIDS, or nnU-Net's raw layout.")
    ],
    to: Annotated[Path, typer.Option(help="The dataset's folder; made if it is not there.")],
    reader: Annotated[str, typer.Option(help="Who annotated, where the source does not say.")],
    work: Annotated[
        bool,
        typer.Option(help="Instead of annotations, what --reader did in Slicer's worklist of it: the reviewed cases."),
    ] = False,
    labels: Annotated[
        str,
        typer.Option(help="Labels that are lesions, by value or name: 1,3. A case may lack some. All if not given."),
    ] = "",
    whole_case: Annotated[
        bool,
        typer.Option(help="All of each case was looked at, unless a list says no: what is not labelled is negative."),
    ] = False,
    key: _Key = DEFAULT_KEY,
) -> None:
    """Cases of others into a dataset. One that cannot be read is named, and the others go on."""
    _refuse_blank("--reader", reader)
    if work and (labels or whole_case):
        raise InputError(
            "--labels and --whole-case are of annotations; with --work, each case says what its reader did"
        )
    if not work:
        _refuse_coarse(source, whole_case)
    notices: list[str] = []
    worklist = Worklist.of(source, reader) if work else None
    cases = worklist.reviewed() if worklist else find_cases(source, several_readers=True, say=notices.append)
    if not cases:
        raise InputError(f"{source}: {reader} has reviewed none of its cases; write --reader as in Slicer")
    readings = Counter((case.patient, case.case, case.reader or plain(reader)) for case in cases)
    twice = next((reading for reading, times in readings.items() if times > 1), None)
    if twice:
        raise InputError(
            f"{source}: {' '.join(twice[:2])} is there twice as read by {twice[2]}, once as --reader; name the reader of each in the "
            "list"
        )
    wanted = label_values(source, label_names(labels))
    unknown = ""
    if not work and not (source / DATASET).exists():  # which declares labels, be it that none of its cases has one
        unknown = _refuse_mistyped(source, cases, wanted)
    imported: list[CaseFiles] = []
    failed: list[tuple[CaseFiles, str]] = []
    negative: list[str] = []
    unlabelled: list[str] = []
    for number, case in enumerate(cases, start=1):
        empty = not work and case.annotation is None and not case.problem
        found = ", 0 lesions (no annotation found)" if empty else ""
        console.print(f"{number}/{len(cases)} {_named(case)}{found}", end=" ")
        said: list[str] = []
        try:
            if case.problem:
                raise InputError(case.problem)
            study = read_study(case.sequences)
            if worklist:
                reading = reading_of_work(worklist.folder(case), reader, study.reference)
            else:
                reading = read_reading(
                    case.reader or reader,
                    study.reference,
                    annotation=case.annotation,
                    labels=case.labels or wanted,
                    lacking=True,
                    say=said.append,
                    whole_case=whole_case if case.whole_case is None else case.whole_case,
                )
            name = export_reading(to, study, reading, patient=case.patient, case=case.case, key=read_key(key))
            console.print(f"→ {name}")
            imported.append(case)
            notices += [f"{_named(case)}: {sentence}" for sentence in said]
            if reading.whole_case and not reading.lesions and (empty or said):
                (negative if empty else unlabelled).append(_named(case))
        except InputError as error:
            console.print("not imported")
            failed.append((case, str(error)))
    console.print(f"{len(imported)} of {counted(len(cases), 'case')} imported into {to}")
    for notice in filter(None, [unknown, *notices]):
        console.print(notice)
    _say_dropped(to, [case.sequences for case in imported])
    if negative:
        console.print(
            f"{', '.join(negative)}: no annotation found, so all of it is negative; if that is wrong, name the file as "
            "NAME-seg.nii.gz beside NAME-t1c.nii.gz (in BIDS as *lesion*_mask.nii.gz in derivatives/), or give a CSV that "
            "lists it, and import again",
        )
    if unlabelled:
        console.print(
            f"{', '.join(unlabelled)}: none of the labels, so all of it is negative; if that is wrong, name those that it has too, in "
            "--labels or in the list, and import again",
        )
    if failed:
        listed = "\n".join(f"  {_named(case)}: {sentence}" for case, sentence in failed)
        raise InputError(
            f"{counted(len(failed), 'case')} could not be imported; mend them, and import again:\n{listed}"
        )


@dataset.command("check")
def check_command(folder: Annotated[Path, typer.Argument(help="The dataset.")]) -> None:
    """Everything that is wrong with a dataset, and how to mend each."""
    problems = check_dataset(folder)
    for problem in problems:
        where = problem.where, "red" if problem.serious else "yellow"
        console.print(Text.assemble(where, f": {problem.what}. ", (problem.mend, "dim")))
    serious = sum(problem.serious for problem in problems)
    if serious:
        raise InputError(f"{folder}: {counted(serious, 'problem')}")
    console.print(f"{folder}: {'no problem that must be mended' if problems else 'no problem'}")


@dataset.command("remove")
def remove_command(
    folder: Annotated[Path, typer.Argument(help="The dataset.")],
    case: Annotated[
        str, typer.Argument(help="Its name in the dataset: `import` and `export` say it, and its files begin with it.")
    ],
) -> None:
    """Take a case out of a dataset: its images, maps and all readings of it."""
    removed = remove_case(folder, case)
    console.print(f"{case}: {counted(removed, 'file')} removed from {folder}")


@dataset.command("stats")
def stats_command(
    folder: Annotated[Path, typer.Argument(help="The dataset.")],
    html: Annotated[Path | None, typer.Option(help="Draw it on a page, too.")] = None,
) -> None:
    """Lesions by size, kind and reader, and an estimate of how many are still missed."""
    found = dataset_stats(folder)
    console.print(f"{counted(found.cases, 'case')}, {found.whole_cases} looked at as a whole")
    table = Table("longest diameter", *found.kinds, "all", title="Lesions")
    for size in [size_name(low) for low in SIZES_MM[:-1]]:
        counts = [found.count(size=size, kind=kind) for kind in (*found.kinds, None)]
        table.add_row(size, *map(str, counts))
    console.print(table)
    by_reader = Table("reader", "lesions", "accepted", "rejected", "uncertain", "not decided", title="Readers")
    for reader in found.readers:
        statuses = ("accepted", "rejected", "uncertain", "pending")
        counts = [found.count(reader=reader), *(found.decisions[status, reader] for status in statuses)]
        by_reader.add_row(reader, *map(str, counts))
    console.print(by_reader)
    for missed in found.missed:
        console.print(say_missed(missed))
    for one in found.disagreements:
        console.print(
            f"{one.case}: {one.lesion_of} marked {one.longest_diameter_mm:.1f} mm at {place(one.centroid_lps)}; "
            f"{one.not_of} {one.why}",
        )
    if html:
        _draw(found, folder.resolve().name, html)


def say_missed(missed: Missed) -> str:
    """One sentence."""
    if missed.high is None:
        return f"Still missed, by {missed.by}: cannot be told, one of them found none that the other had not."
    return (
        f"Still missed, by {missed.by} ({missed.first} and {counted(missed.second, 'lesion')}, {missed.both} in common, "
        f"{counted(missed.cases, 'case')}): about {missed.missed:.0f} (95 % interval {missed.low:.0f} to {missed.high:.0f}), more "
        "where both overlook the same ones."
    )


def _draw(stats: Stats, name: str, out: Path) -> None:
    from ..pages import page

    sizes = [size_name(low) for low in SIZES_MM[:-1]]
    text = page("dataset/stats.html.j2", stats=stats, name=name, sizes=sizes, say=say_missed)
    try:
        out.write_text(text, encoding="utf-8")
    except OSError as error:
        raise InputError(f"{out}: cannot be written ({error.strerror}); choose another file") from None
    console.print(f"Drawn: {out}")


def _say_dropped(dataset: Path, exported: list[Collection[str]]) -> None:
    """Sequences that cases have and the dataset has not, for its first case had none."""
    if not exported:
        return
    channels = read_record(dataset / DATASET, DatasetRecord).channel_names.values()
    for sequence in SEQUENCES:
        having = sum(sequence in sequences for sequences in exported)
        if having and sequence not in channels:
            console.print(
                f"{SEQUENCES[sequence]} of {counted(having, 'case')} left out, for the first case of {dataset} has none; to keep "
                "it, make a new dataset of the cases that have it",
            )


def _refuse_blank(option: str, name: str) -> None:
    if not plain(name):
        raise InputError(f"{option} {name!r}: is empty, so cases of all such would be one; give a name")


def _refuse_mistyped(source: Path, cases: list[CaseFiles], labels: tuple[str, ...]) -> str:
    """Raises InputError for a label that no case has of those that are to have it, as one that was mistyped. ``labels``: where
    a case names none. One that cannot be read might have it, and then a sentence is returned."""
    unread = False
    left, there = dict.fromkeys(name for case in cases for name in case.labels or labels), dict[str, None]()
    for case in cases:
        asked = [name for name in case.labels or labels if name in left]
        if not asked or case.annotation is None:
            continue
        try:
            drawn = read_labels(case.annotation)
        except InputError:  # it is named where the case is imported
            unread = True
            continue
        there |= dict.fromkeys([described(drawn)] if drawn.masks else [])
        for name in set(asked).difference(absent(drawn, asked)):
            del left[name]
    if not (left and there):
        return ""
    names, has = ", ".join(map(repr, left)), next(iter(there))
    if not unread:
        raise InputError(
            f"{source}: no annotation has a label {names}; the first has {has}: give names, or the values in brackets"
        )
    return (
        f"No annotation that could be read has a label {names}; the first has {has}. If that is mistyped, remove these cases and import "
        "them again"
    )


def _refuse_coarse(source: Path, whole_case: bool) -> None:
    """Raises InputError for a dataset that says more than an import takes over: patients, readers, trust."""
    if not (source / DATASET).exists():
        return
    if names_in(source / REVIEWS, ".json"):
        raise InputError(
            f"{source}: is a coarse-label dataset already, whose patients, readers and trust an import would lose; train on it "
            "as it is, or export its readings again"
        )
    if names_in(source / TRUST) and not whole_case:
        raise InputError(
            f"{source}: has {TRUST}/, which an import would lose; train on it as it is, or, if all of each case was looked "
            "at, add --whole-case"
        )


def _named(case: CaseFiles) -> str:
    """Patient and case; once where they are the same."""
    return case.case if case.case == case.patient else f"{case.patient} {case.case}"
