"""The ``lopsided`` command."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event
from types import FrameType
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn
from rich.table import Column, Table
from rich.text import Text

from . import __version__, runtime
from .annotation import Annotation, label_names, read_annotation, read_labels
from .candidates import MARGIN_MM
from .dataset.commands import dataset, export_command
from .dicomseg import write_dicom_seg
from .errors import InputError, is_shortage, reason
from .model import SEQUENCES, bundled_models, find_model, load_card, load_model
from .reading import read_study
from .resources import resource_folder
from .results import REPORT, RESULTS, all_or_nothing, record, write_results
from .suggest import Suggestions, suggest
from .wording import DISCLAIMER, beyond, percent, typed

app = typer.Typer(
    help=f"Suggest the lesions that an annotation missed. {DISCLAIMER}",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
models = typer.Typer(help="The models that can be used.", no_args_is_help=True)
app.add_typer(models, name="models")
app.add_typer(dataset, name="dataset")
app.command("export")(export_command)
# without markup, for names and paths may have brackets
out_console, errors = Console(markup=False, highlight=False), Console(markup=False, highlight=False, stderr=True)


@app.callback(invoke_without_command=True)
def _version(version: Annotated[bool, typer.Option("--version", help="Print the version and stop.")] = False) -> None:
    if version:
        out_console.print(f"LopsidedSeg {__version__}")
        raise typer.Exit


@app.command("suggest")
def suggest_command(
    reference: Annotated[
        Path | None, typer.Argument(help="Post-contrast T1: NIfTI, NRRD, MHA, or a folder with DICOM.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Folder for the results; must be new or empty.")] = None,
    t1c: Annotated[Path | None, typer.Option(help="Post-contrast T1, instead of the argument.")] = None,
    t1: Annotated[Path | None, typer.Option(help="T1 before contrast.")] = None,
    t2: Annotated[Path | None, typer.Option(help="T2.")] = None,
    flair: Annotated[Path | None, typer.Option(help="FLAIR.")] = None,
    annotation: Annotated[
        Path | None, typer.Option(help="What is annotated already: a label map, .seg.nrrd or DICOM SEG.")
    ] = None,
    labels: Annotated[
        str | None,
        typer.Option(help="Labels of the annotation that are lesions, by value or name: 1,4. All if not given."),
    ] = None,
    series: Annotated[
        list[str] | None,
        typer.Option(help="Which series of a DICOM folder: number or description; for others flair=NUMBER."),
    ] = None,
    model: Annotated[str | None, typer.Option(help="A model's name, or its folder.")] = None,
    device: Annotated[str | None, typer.Option(help="cpu, cuda or mps; the fastest if not given.")] = None,
    threshold: Annotated[
        float | None, typer.Option(min=0, max=1, help="Least confidence to list; the model's own if not given.")
    ] = None,
    margin: Annotated[
        float, typer.Option(min=0, max=1000, help="Nearer than this (mm) to an annotated lesion is that lesion.")
    ] = MARGIN_MM,
    overwrite: Annotated[bool, typer.Option(help="Replace earlier results in --out.")] = False,
) -> None:
    """Suggest the lesions that the annotation of a study does not have."""
    if (reference is None) == (t1c is None):
        raise InputError("give the post-contrast T1 once: as the argument, or with --t1c")
    if out is None:
        raise InputError("no --out; give a folder for the results")
    given = {"t1c": reference or t1c, "t1": t1, "t2": t2, "flair": flair}
    files = {name: path for name, path in given.items() if path is not None}
    if labels is not None and annotation is None:
        raise InputError(f"--labels {labels}: there is no --annotation to have them; give one, or leave this out")
    wanted = label_names(labels or "")
    _run(files, _series(series or [], files), annotation, wanted, out, model, device, threshold, margin, overwrite)


@app.command()
def demo(
    out: Annotated[Path | None, typer.Option(help="Folder for the results; lopsided-demo if not given.")] = None,
    device: Annotated[str | None, typer.Option(help="cpu, cuda or mps; the fastest if not given.")] = None,
    overwrite: Annotated[
        bool, typer.Option(help="Replace earlier results in --out; those in lopsided-demo always are.")
    ] = False,
) -> None:
    """The main job on the bundled sample: a simulated study, and an annotation that misses lesions."""
    folder = resource_folder() / "SampleStudy"
    files = {name: folder / f"{name}.nii.gz" for name in SEQUENCES}
    annotation = folder / "annotation.seg.nrrd"
    out_console.print(
        Text.assemble("A simulated four-sequence study, and its annotation: ", (str(folder), "bold")), soft_wrap=True
    )
    overwrite = overwrite or out is None
    _run(files, {}, annotation, (), out or Path("lopsided-demo"), None, device, None, MARGIN_MM, overwrite)


@app.command()
def dicomseg(
    labels: Annotated[Path, typer.Argument(help="A label map, .seg.nrrd or DICOM SEG.")],
    dicom: Annotated[Path, typer.Option(help="Folder with the DICOM series that the labels were drawn on.")],
    out: Annotated[Path, typer.Option(help="The DICOM SEG file to write; one of that name is replaced.")],
    series: Annotated[str | None, typer.Option(help="Which series of the folder: number or description.")] = None,
) -> None:
    """Write labels that a person drew as a DICOM Segmentation (SEG) of their series.

    Each label is a segment, said to be a brain metastasis and drawn by hand. The file carries the patient's
    identifiers of the series: name, ID, date of birth and study.
    """
    found = read_labels(labels)
    write_dicom_seg(found, dicom, out, series)
    out_console.print(f"Segments: {', '.join(found.masks)}")
    size = f", {out.stat().st_size / 1000:.0f} kB"
    out_console.print(Text.assemble("DICOM SEG: ", (str(out.absolute()), "bold"), size), soft_wrap=True)
    out_console.print(f"It carries the patient's identifiers of the series. {DISCLAIMER}")


@models.command("list")
def models_list() -> None:
    """The models that ship with the software."""
    table = Table("name", "title", "sequences", "threshold", "digest")
    for folder in bundled_models():
        card = load_card(folder)
        used = ", ".join(s.name if s.required else f"({s.name})" for s in card.input.sequences)
        table.add_row(card.name, card.title, used, typed(card.threshold), card.digest[:12])
    out_console.print(table)
    out_console.print("Sequences in brackets are optional.", style="dim")


@models.command("info")
def models_info(name: Annotated[str, typer.Argument(help="A model's name, or its folder.")]) -> None:
    """A model's card: how it was made, measured, and what it is not for."""
    card = load_model(find_model(name)).card
    what = f" ({card.name}, {card.digest[:12]}, {card.licence}) {card.intended_use}"
    out_console.print(Text.assemble((card.title, "bold"), what))
    table = Table("confidence at least", "sensitivity", "false positives a scan")
    for point in card.operating_points:
        chosen = " (default)" if point.confidence == card.threshold else ""
        table.add_row(
            f"{typed(point.confidence)}{chosen}", f"{point.sensitivity:.2f}", f"{point.false_positives_per_scan:.2f}"
        )
    out_console.print(table)
    for key, value in card.provenance.model_dump().items():
        shown = ", ".join(f"{k} {v}" for k, v in value.items()) if isinstance(value, dict) else value
        out_console.print(Text.assemble((key, "bold"), f": {shown}"))
    if card.integers:
        out_console.print(
            Text.assemble(("integers", "bold"), f": of 8 bits, on CPUs; ranges from {card.integers.data}")
        )


def _series(options: list[str], files: dict[str, Path]) -> dict[str, str]:
    """``--series`` by sequence: ``NAME=SERIES``, or ``SERIES`` alone for the reference."""
    chosen = {}
    for option in options:
        name, equals, value = option.partition("=")
        if equals and name in SEQUENCES:
            chosen[name] = value
        else:
            chosen["t1c"] = option
    unused = [name for name in chosen if name not in files or not files[name].is_dir()]
    if unused:
        raise InputError(
            f"--series {unused[0]}={chosen[unused[0]]}: --{unused[0]} is not a folder with DICOM; "
            "give one, or leave this --series out"
        )
    return chosen


def _run(
    files: dict[str, Path],
    series: dict[str, str],
    annotation: Path | None,
    labels: tuple[str, ...],
    out: Path,
    model: str | None,
    device: str | None,
    threshold: float | None,
    margin: float,
    overwrite: bool,
) -> None:
    began = time.monotonic()
    for path in (*files.values(), *([annotation] if annotation else [])):
        real = path.resolve()  # by whatever link it is given
        if overwrite and real.name in RESULTS and real.parent == out.resolve():
            raise InputError(f"{path}: --overwrite would replace it, and it is to be read; choose another --out")
    with _interrupts() as check, all_or_nothing(out, overwrite=overwrite) as folder:
        study = read_study(files, series)
        annotated = Annotation.empty(study.reference.geometry)
        if annotation is not None:
            annotated = read_annotation(annotation, study.reference, labels)
        loaded = load_model(find_model(model))
        # it takes seconds to import: only for a study that can be searched. What it says is none of the results' folder
        try:
            import torch  # noqa: F401
        except (ImportError, OSError) as error:
            raise InputError(
                f"PyTorch cannot be loaded ({reason(error)}); install it again, as https://pytorch.org/get-started/locally says"
            ) from None
        from .predict import Predictor
        from .report import write_report

        predictor = Predictor(loaded, device)
        with _bar(check) as progress:
            suggestions = suggest(predictor, study, annotated, threshold=threshold, margin_mm=margin, progress=progress)
        write_results(suggestions, folder)
        write_report(suggestions, folder)
        check()
    device = f"{predictor.device}, in 8-bit integers" if predictor.in_integers else str(predictor.device)
    say_found(suggestions, out, time.monotonic() - began, device)


@contextmanager
def _interrupts() -> Iterator[Callable[[], None]]:
    """Gives a function that raises KeyboardInterrupt if there was one: within a library's import it can be lost.

    Being told to end, as by ``timeout`` or a queue of jobs, is one too: what is half written has to go.
    """
    asked = Event()

    def remember(signum: int, frame: FrameType | None) -> None:
        asked.set()
        signal.default_int_handler(signum, frame)

    def check() -> None:
        if asked.is_set():
            raise KeyboardInterrupt

    before = {number: signal.signal(number, remember) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield check
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def _bar(check: Callable[[], None]) -> Iterator[Callable[[str, float], None]]:
    """A progress bar on stderr. ``check`` is called at every step."""
    columns = TextColumn("{task.description}"), BarColumn(), TaskProgressColumn()
    with Progress(*columns, console=errors, transient=True) as bar:
        task = bar.add_task("Preparing", total=1.0)

        def progress(what: str, part: float) -> None:
            check()
            bar.update(task, description=what, completed=part)

        yield progress


def say_found(suggestions: Suggestions, out: Path, seconds: float, device: str) -> None:
    """What was found, as a table, and where the rest of it is."""
    annotation = suggestions.annotation
    if annotation.labels:
        listed = ", ".join(f"{name} {mm3:.0f} mm³" for name, mm3 in annotation.labels.items())
        out_console.print(f"Taken as annotated lesions: {listed}")
    if annotation.left_out:
        out_console.print(f"Labels left out: {', '.join(annotation.left_out)}")
    if annotation.beyond:
        out_console.print(beyond(annotation.beyond).capitalize())
    if suggestions.unused:
        unused = ", ".join(SEQUENCES[name] for name in suggestions.unused)
        out_console.print(f"Not used by this model: {unused}")
    place = Column("R, A, S (mm)", no_wrap=True)
    table = Table("rank", "confidence", "longest diameter", "volume", place, "to nearest annotated")
    for c in record(suggestions).candidates:
        right, anterior, superior = c.centroid_ras
        table.add_row(
            str(c.rank),
            percent(c.confidence),
            f"{c.longest_diameter_mm:.1f} mm",
            f"{c.volume_mm3:.0f} mm³",
            f"{right:.1f}, {anterior:.1f}, {superior:.1f}",
            "–" if c.distance_to_annotated_mm is None else f"{c.distance_to_annotated_mm:.0f} mm",
        )
    found = f"{len(suggestions.shown)} suggested"
    if annotation.labels:
        found += f", {len(suggestions.found.annotated)} found in what is annotated already"
    nothing = Text.assemble(("Nothing to suggest", "bold"), " at this threshold.")
    out_console.print(table if suggestions.shown else nothing)
    out_console.print(f"{found}; {seconds:.1f} s on {device}. {DISCLAIMER}")
    out_console.print(Text.assemble("Report: ", (str(out.absolute() / REPORT), "bold")), soft_wrap=True)


def main() -> None:
    """Run the command."""
    run_app(app)


def run_app(command: typer.Typer) -> None:
    """Run a typer application as this project's programs: exit 2 for what the user can mend, 1 for our own failure."""
    runtime.keep_memory()
    try:
        command()
    except InputError as error:
        errors.print(Text.assemble(("error:", "bold red"), f" {error}"), soft_wrap=True)
        sys.exit(2)
    except Exception as error:
        if os.environ.get("LOPSIDED_DEBUG"):
            raise
        if is_shortage(error):
            what = f" not enough memory ({reason(error)}); close other programs and try again"
            errors.print(Text.assemble(("error:", "bold red"), what), soft_wrap=True)
            sys.exit(2)
        what = (
            f" {type(error).__name__}: {error}\n"
            "This is a fault of LopsidedSeg. Please report it with the output of the same command under LOPSIDED_DEBUG=1."
        )
        errors.print(Text.assemble(("internal error:", "bold red"), what), soft_wrap=True)
        sys.exit(1)
