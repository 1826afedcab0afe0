"""The ``lopsided-train`` command."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from lopsided.cli import run_app
from lopsided.errors import InputError
from lopsided.model import LARGEST_SCALE, SMALLEST_SCALE
from lopsided.wording import counted
from rich.console import Console

from .writing import writable

app = typer.Typer(
    help="Simulate studies, train, measure and export models for LopsidedSeg.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
console = Console(markup=False)  # paths may have brackets


experiments = typer.Typer(help="Does a network learn to miss what its annotators missed?", no_args_is_help=True)
app.add_typer(experiments, name="experiment")


def _say(line: str) -> None:
    console.print(line, highlight=False, soft_wrap=True)  # as one line, to be copied


def _progress(line: str) -> None:
    if console.is_terminal:  # in a file, one line after the other would be one
        console.print(line, end="\r")


def _make_way(out: Path) -> None:
    """For a file that takes long to make. Raises InputError where it could not be written in the end."""
    if out.is_dir():
        raise InputError(f"--out {out}: is a folder; give the name of a file")
    with writable(out):
        out.parent.mkdir(parents=True, exist_ok=True)


_Set = Annotated[
    list[str] | None, typer.Option("--set", help="One setting over the file's, such as loss.beta=0.2; repeatable.")
]
_Accelerator = Annotated[str, typer.Option(help="cpu, cuda, mps or auto.")]


@app.command()
def simulate(
    backgrounds: Annotated[list[str], typer.Argument(help="Label maps, skull-stripped post-contrast T1, or mni152.")],
    out: Annotated[Path, typer.Option(help="The dataset's folder.")],
    studies: Annotated[int, typer.Option(min=1)] = 100,
    seed: Annotated[int, typer.Option(min=0, help="Of the first study; each next adds one.")] = 1,
    mean_lesions: Annotated[float, typer.Option(min=0, help="Lesions a study, on average.")] = 7.0,
    more_small: Annotated[float, typer.Option(min=0, max=1, help="Share of lesions made 2 to 4 mm across.")] = 0.0,
    sequences: Annotated[str, typer.Option(help="Those to write, with commas between.")] = "t1c,t1,t2,flair",
    one_protocol: Annotated[bool, typer.Option(help="As if all came from one scanner, skull-stripped.")] = False,
    jobs: Annotated[int, typer.Option(min=1, help="Processes.")] = 1,
) -> None:
    """Simulated studies with known truth, as a dataset in nnU-Net's raw layout."""
    from .simulate import simulate as run

    run(
        backgrounds,
        out,
        studies=studies,
        seed=seed,
        mean_lesions=mean_lesions,
        more_small=more_small,
        sequences=tuple(name.strip() for name in sequences.split(",")),
        one_protocol=one_protocol,
        jobs=jobs,
        progress=lambda done, of: _progress(f"{done}/{of}"),
    )
    console.print(f"{counted(studies, 'study')} in {out}", soft_wrap=True)


@app.command()
def brain(
    anatomies: Annotated[list[Path], typer.Argument(help="Label maps of whole heads.")],
    out: Annotated[Path, typer.Option(help="The weights, safetensors.")],
    steps: Annotated[int, typer.Option(min=1, help="Heads to draw.")] = 4000,
    seed: Annotated[int, typer.Option(min=0)] = 1,
) -> None:
    """The network that finds the brain in any scan, so that lesions are searched nowhere else."""
    from .anatomy import read_label_map
    from .heads import train
    from .train import save_weights

    _make_way(out)
    network = train(
        [read_label_map(path)[:2] for path in anatomies],
        steps,
        seed,
        lambda step, dice: _progress(f"{step}/{steps} Dice {dice:.2f}  "),
    )
    save_weights(network, out)
    console.print(f"weights in {out}", soft_wrap=True)


@app.command(name="contact-sheet")
def contact_sheet(
    dataset: Annotated[Path, typer.Argument(help="Any dataset that can be trained on.")],
    out: Annotated[Path, typer.Option(help="The picture, PNG.")],
    cases: Annotated[int, typer.Option(min=1, help="How many, from the first.")] = 8,
    outlines: Annotated[bool, typer.Option(help="Whether lesions are outlined.")] = True,
) -> None:
    """A picture of a dataset's studies, to look at before training on them."""
    from .contact import contact_sheet as draw
    from .dataset import read_dataset

    _make_way(out)
    draw(read_dataset(dataset)[:cases], out, outlines=outlines)
    console.print(f"contact sheet in {out}", soft_wrap=True)


@app.command()
def fit(
    dataset: Annotated[
        Path, typer.Argument(help="A coarse-label dataset, nnU-Net's raw layout, BraTS-style folders, BIDS, or a CSV.")
    ],
    out: Annotated[Path, typer.Option(help="The run's folder; an interrupted run goes on from there.")],
    config: Annotated[str | None, typer.Option(help="Settings: a TOML file, or the name of bundled ones.")] = None,
    set_: _Set = None,
    start_from: Annotated[
        Path | None, typer.Option(help="A model folder or name, or a finished run, whose weights to start from.")
    ] = None,
    cache: Annotated[Path | None, typer.Option(help="Preprocessed cases; inside --out if not given.")] = None,
    accelerator: _Accelerator = "auto",
    devices: Annotated[int, typer.Option(min=1, help="Processes on this machine.")] = 1,
    nodes: Annotated[int, typer.Option(min=1, help="Machines, started by torchrun or SLURM.")] = 1,
    jobs: Annotated[int, typer.Option(min=1, help="Processes that preprocess.")] = 1,
) -> None:
    """Train a network on labels that may miss lesions, with the lopsided loss unless the settings name another."""
    from .config import bundled, read_config
    from .fit import fit as run

    run(
        dataset,
        out,
        read_config(bundled("configs", config) if config else None, set_ or []),
        cache=cache,
        start_from=start_from,
        accelerator=accelerator,
        devices=devices,
        nodes=nodes,
        jobs=jobs,
        say=_say,
    )


@app.command()
def evaluate(
    subject: Annotated[Path, typer.Argument(metavar="RUN_OR_MODEL", help="A finished run, a model folder or name.")],
    dataset: Annotated[
        Path, typer.Argument(help="Dataset with truth to measure on, neither trained nor calibrated on.")
    ],
    out: Annotated[
        Path | None, typer.Option(help="Folder for the evaluation; for a run, RUN/evaluation if not given.")
    ] = None,
    calibrate: Annotated[
        Path | None, typer.Option(help="For a run: dataset with truth to calibrate on, not trained on.")
    ] = None,
    false_positives: Annotated[
        float | None,
        typer.Option(min=0, help="That the default threshold may give a scan; with --calibrate. 2 if not given."),
    ] = None,
    scale: Annotated[
        list[float] | None,
        typer.Option(
            min=SMALLEST_SCALE,
            max=LARGEST_SCALE,
            help="For a run: search in voxels of so many times input.spacing_mm; repeatable. 1 if not given.",
        ),
    ] = None,
    lesion_label: Annotated[
        list[int] | None,
        typer.Option(
            min=1, help="A label value that is a lesion; repeatable. If not given a run's lesion_labels, or all but 0."
        ),
    ] = None,
    device: Annotated[str | None, typer.Option(help="cpu, cuda or mps; the fastest if not given.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of the resamples that intervals are made from.")] = 1,
) -> None:
    """Measure a run or a model: FROC, calibration, Dice, with intervals and a report."""
    from .evaluate import evaluate as run

    evaluation = run(
        subject,
        dataset,
        out,
        calibrate=calibrate,
        budget=false_positives,
        scales=tuple(scale) if scale else None,
        lesion_labels=tuple(lesion_label or ()),
        device=device,
        seed=seed,
        say=_say,
    )
    if not evaluation.dataset.lesions:
        _say(f"no lesion in {dataset}: sensitivity is not defined, false positives are counted")
    mean, default = evaluation.overlap.froc_mean, next(p for p in evaluation.operating_points if p.default)
    interval = f" (95 % interval over patients {mean.bounds(3)})" if mean.bounds(3) else ""
    _say(f"FROC mean {mean.text(3)}{interval}")
    _say(
        f"at the default threshold {evaluation.threshold:g}: sensitivity {default.sensitivity.text()}, "
        f"{default.false_positives.text()} false positives a scan"
    )
    console.print(f"report in {(out or subject / 'evaluation') / 'report.html'}", soft_wrap=True)


@app.command()
def compare(
    evaluations: Annotated[
        list[Path], typer.Argument(help="Evaluations on the same cases, the first as the reference.")
    ],
    out: Annotated[Path | None, typer.Option(help="Also write it: a .json or .html file.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of the resamples that intervals are made from.")] = 1,
) -> None:
    """Evaluations side by side, with how they differ from the first one."""
    from .compare import compare as run
    from .compare import tables, write_comparison

    comparison, read = run(evaluations, seed=seed)
    for table in tables(comparison):
        console.print(table)
    if out is not None:
        write_comparison(comparison, read, out)


@app.command()
def export(
    run: Annotated[Path, typer.Argument(help="The folder of a finished run, evaluated with --calibrate.")],
    out: Annotated[Path, typer.Option(help="The model folder; its last part is the model's name.")],
    title: Annotated[str, typer.Option(help="For people.")],
    data: Annotated[str, typer.Option(help="What it was trained on, for people.")],
    evaluated_on: Annotated[str, typer.Option(help="What it was measured on, for people.")],
    limitations: Annotated[str, typer.Option(help="Known failures, for people.")],
    licence: Annotated[str | None, typer.Option(help="Of the weights, as CC-BY-4.0; not stated if not given.")] = None,
) -> None:
    """Write a run that was calibrated and measured as a model folder."""
    from .export import export as write

    write(run, out, title=title, data=data, evaluated_on=evaluated_on, limitations=limitations, licence=licence)
    console.print(f"model in {out}", soft_wrap=True)


@app.command()
def quantise(
    model: Annotated[Path, typer.Argument(help="A model folder or name.")],
    dataset: Annotated[Path, typer.Argument(help="Studies as it was trained or calibrated on; some are enough.")],
) -> None:
    """Add the network in 8-bit integers to a model folder: on CPUs searches then take half of the time, or less."""
    from .quantise import quantise as run

    card = run(model, dataset, say=_say)
    _say(f"{model}: now in 8-bit integers too, digest {card.digest[:12]}")
    _say(f"to see what they change: lopsided-train evaluate {model} OTHER_DATASET --device cpu --out FOLDER")


@app.command()
def reproduce(
    recipe: Annotated[str, typer.Argument(help="The name of a bundled recipe (default), or a TOML file.")],
    anatomies: Annotated[Path, typer.Option(help="The folder of the label maps that the recipe names.")],
    real: Annotated[Path, typer.Option(help="The real post-contrast T1, skull-stripped, without any lesion.")],
    out: Annotated[Path, typer.Option(help="Folder for all of it; an interrupted one goes on from there.")],
    studies: Annotated[
        int | None, typer.Option(min=1, help="Of each dataset at most so many: a trial, not the model.")
    ] = None,
    set_: _Set = None,
    jobs: Annotated[int, typer.Option(min=1, help="Processes that simulate and preprocess.")] = 1,
    accelerator: _Accelerator = "auto",
) -> None:
    """A bundled model again, from nothing: simulate, train, measure, export and quantise as its recipe says."""
    from .config import bundled, read_settings
    from .reproduce import Recipe
    from .reproduce import reproduce as run

    folder = run(
        read_settings(bundled("recipes", recipe), Recipe),
        anatomies,
        real,
        out,
        changes=set_ or [],
        studies=studies,
        jobs=jobs,
        accelerator=accelerator,
        say=_say,
    )
    console.print(f"model in {folder}", soft_wrap=True)


_Experiment = Annotated[Path, typer.Option(help="The experiment, TOML.")]
_Minutes = Annotated[float | None, typer.Option(min=0, help="Stop after these, to go on another time.")]


@experiments.command()
def censoring(
    config: _Experiment,
    data: Annotated[Path, typer.Option(help="Folder with the datasets train, validation and test, all with truth.")],
    out: Annotated[Path, typer.Option(help="Where results go; what is there already is not done again.")],
    minutes: _Minutes = None,
    accelerator: _Accelerator = "auto",
) -> None:
    """Train with every loss on labels from which lesions were taken out, and test on the truth.

    Start it as often as there are processors to use, with the same --out.
    """
    from .config import read_settings
    from .experiment.censoring import experiment
    from .experiment.plan import ExperimentConfig

    done = experiment(
        read_settings(config, ExperimentConfig), data, out, minutes=minutes, accelerator=accelerator, say=_say
    )
    console.print("All runs are done." if done else "Some runs are left; start it again.")


@experiments.command()
def rounds(
    config: _Experiment,
    data: Annotated[Path, typer.Option(help="Folder with the datasets train and test, both with truth.")],
    out: Annotated[Path, typer.Option(help="Where results, table and figure go; what is there is not done again.")],
    minutes: _Minutes = None,
    accelerator: _Accelerator = "auto",
) -> None:
    """Suggest, let a simulated reader decide, retrain; with trusted negatives and without."""
    from .config import read_settings
    from .experiment import rounds as experiment
    from .experiment.rounds_table import write_table

    settings = read_settings(config, experiment.RoundsConfig)
    done = experiment.rounds(settings, data, out, minutes=minutes, accelerator=accelerator, say=_say)
    write_table(experiment.read_results(settings, out), out)
    console.print("All rounds are done." if done else "Some rounds are left; start it again.")


@experiments.command()
def tables(
    config: _Experiment,
    out: Annotated[Path, typer.Option(help="The folder with its results; tables and figures go there too.")],
) -> None:
    """Tables and figures of an experiment, from its result files alone."""
    from .config import read_settings
    from .experiment.censoring import compared
    from .experiment.plan import ExperimentConfig
    from .experiment.tables import write_tables

    write_tables(compared(read_settings(config, ExperimentConfig), out), out)
    console.print(f"tables and figures in {out}", soft_wrap=True)


@app.command()
def sample(
    out: Annotated[Path, typer.Option(help="Folder for the study.")],
    seed: Annotated[int, typer.Option(min=0)] = 20,
) -> None:
    """Make a study like the bundled sample: simulated on MNI152, with an annotation that misses lesions."""
    from .sample import write_sample

    write_sample(out, seed)
    console.print(f"sample study in {out}", soft_wrap=True)


def main() -> None:
    """Run the command."""
    run_app(app)
