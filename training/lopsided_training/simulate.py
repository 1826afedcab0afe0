"""Simulated studies with known truth, as a coarse-label dataset."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache, partial
from pathlib import Path

import numpy as np
from lopsided.characters import check_name
from lopsided.dataset.records import ANNOTATED, DATASET, IMAGES, LABELS, NEGATIVE, SUFFIX, TRUST, image_path
from lopsided.errors import InputError
from lopsided.reading import read_array
from lopsided.volume import to_sitk
from lopsided.writing import write_image

from . import anatomy as anatomies
from .processes import pool
from .records import SEQUENCES, StudyRecord, sample
from .rendering import render
from .writing import writable

MNI152 = "mni152"
_RECORDS = "records"
_LEVEL = 1  # of compression: there are many, and noise does not compress
_CEREBRUM = (2, 41, 3, 42)  # FreeSurfer's white matter and cortex, left and right: most of a brain


def simulate(
    backgrounds: list[str],
    out: Path,
    *,
    studies: int,
    seed: int,
    mean_lesions: float = 7.0,
    more_small: float = 0.0,
    sequences: tuple[str, ...] = SEQUENCES,
    one_protocol: bool = False,
    change: Callable[[StudyRecord], StudyRecord] | None = None,
    jobs: int = 1,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> None:
    """Write ``studies`` simulated studies to ``out``; study n uses background n modulo their number.

    Args:
        backgrounds: label maps (FreeSurfer-style), real skull-stripped post-contrast T1 images without any lesion, or
            ``mni152``.
        out: the dataset's folder; made if absent.
        studies: how many.
        seed: of the first study; each next adds one.
        mean_lesions: lesions a study, on average, before those above 40 are left out.
        more_small: see :func:`lopsided_training.records.sample`.
        sequences: those to write, ``t1c`` among them.
        one_protocol: as if every study came from one scanner (:func:`lopsided_training.records.sample`).
        change: what becomes of each study's record before it is drawn; must be picklable.
        jobs: processes.
        progress: called with studies done and their number.

    Raises:
        InputError: no background, one that is neither a file nor ``mni152``, an unknown sequence, or no space in ``out``,
            or a name of it that is not in UTF-8.
    """
    check_name(out)
    refuse_missing(backgrounds)
    if "t1c" not in sequences or not set(sequences) <= set(SEQUENCES):
        raise InputError(f"sequences {', '.join(sequences)}: must be of {', '.join(SEQUENCES)}, t1c among them")
    _refuse_others(out, [_case(seed + n) for n in range(studies)], len(sequences))
    with writable(out):
        (out / DATASET).unlink(missing_ok=True)  # it says that all are there
        for name in (IMAGES, LABELS, TRUST, _RECORDS):
            (out / name).mkdir(parents=True, exist_ok=True)
    work = [(backgrounds[n % len(backgrounds)], seed + n, out) for n in range(studies)]
    work.sort(key=lambda item: item[0])  # neighbours share the anatomy that is in memory
    write = partial(
        _write_study,
        sequences=sequences,
        mean_lesions=mean_lesions,
        more_small=more_small,
        one_protocol=one_protocol,
        change=change,
    )
    with pool(jobs) as processes:
        for done, _ in enumerate(processes.map(write, work, chunksize=2), start=1):
            progress(done, studies)
    description = {
        "channel_names": {str(n): name for n, name in enumerate(sequences)},
        "labels": {"background": 0, "lesion": 1},
        "numTraining": studies,
        "file_ending": ".nii.gz",
    }
    with writable(out):
        (out / DATASET).write_text(json.dumps(description, indent=2) + "\n", encoding="utf-8")


def _case(seed: int) -> str:
    return f"sim_{seed:06d}"


def refuse_missing(backgrounds: list[str]) -> None:
    """Raises InputError where there is no background, or one that is neither a file nor ``mni152``."""
    missing = list(dict.fromkeys(b for b in backgrounds if b != MNI152 and not Path(b).is_file()))
    if missing or not backgrounds:
        first = missing[0] if missing else "none given"
        others = f", and {len(missing) - 1} more" if len(missing) > 1 else ""
        raise InputError(f"no such background: {first}{others}; give label maps, images, or {MNI152}")


def _refuse_others(out: Path, cases: list[str], sequences: int) -> None:
    """Raises InputError where ``out`` holds anything that this simulation does not write, but for hidden files."""
    images = {image_path(case, str(n)) for case in cases for n in range(sequences)}
    others = {f"{part}/{case}{SUFFIX}" for case in cases for part in (LABELS, TRUST)}
    ours = images | others | {f"{_RECORDS}/{case}.json" for case in cases} | {DATASET}
    there = {path.relative_to(out).as_posix() for path in out.rglob("*") if not path.is_dir()}
    foreign = sorted(name for name in there - ours if "/." not in f"/{name}")
    if foreign:
        raise InputError(f"{out}: is not empty ({', '.join(foreign[:3])}); choose another folder")


@lru_cache(maxsize=1)
def load_background(name: str) -> anatomies.Anatomy:
    """A background by its file, or ``mni152``. Mostly FreeSurfer's labels of the cerebrum are a label map, anything else an image:
    real images may be of whole numbers too."""
    if name == MNI152:
        return anatomies.mni152()
    values = read_array(Path(name)).array[::4, ::4, ::4]
    brain = values[(values > 0) & (values < anatomies.FIRST_OUTSIDE)]
    cerebrum = brain[np.isin(brain, _CEREBRUM)]
    is_label_map = len(np.unique(cerebrum)) >= 2 and len(cerebrum) > len(brain) / 4
    return anatomies.from_label_map(Path(name)) if is_label_map else anatomies.from_image(Path(name))


def _write_study(
    work: tuple[str, int, Path],
    *,
    sequences: tuple[str, ...],
    mean_lesions: float,
    more_small: float,
    one_protocol: bool,
    change: Callable[[StudyRecord], StudyRecord] | None,
) -> None:
    background, seed, out = work
    anatomy = load_background(background)
    record = sample(anatomy, seed, mean_lesions=mean_lesions, more_small=more_small, one_protocol=one_protocol)
    record = replace(record, acquisitions={s: how for s, how in record.acquisitions.items() if s in sequences})
    record = change(record) if change else record
    rendered = render(anatomy, record)
    case = _case(seed)
    lesion = (rendered.truth > 0).astype(np.uint8)
    trust = np.where(lesion, ANNOTATED, NEGATIVE).astype(np.uint8)  # no background has a lesion but those drawn
    with writable(out):
        for number, sequence in enumerate(sequences):
            path = out / image_path(case, str(number))
            if sequence in rendered.images:
                write_image(to_sitk(rendered.images[sequence], rendered.geometry), path, _LEVEL)
            else:
                path.unlink(missing_ok=True)  # of another head, that was simulated here before
        for folder, labels in ((LABELS, lesion), (TRUST, trust)):
            write_image(to_sitk(labels, rendered.geometry), out / folder / f"{case}{SUFFIX}", _LEVEL)
        (out / _RECORDS / f"{case}.json").write_text(json.dumps(record.to_json(), indent=1) + "\n", encoding="utf-8")
