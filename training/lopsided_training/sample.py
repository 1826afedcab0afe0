"""The study that ships with the project: simulated on MNI152, with an annotation from which lesions are missing."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
from lopsided.results import all_or_nothing
from lopsided.segmentation import Segment, segmentation_image
from lopsided.volume import to_sitk
from lopsided.writing import write_image

from .anatomy import mni152
from .records import sample
from .rendering import render

MISSED = 0.4  # of the lesions, rather the small ones: what a hurried reader overlooks
_GAIN = 120.0  # grey levels of white matter: fewer compress better


def write_sample(out: Path, seed: int) -> None:
    """``t1c``, ``t1``, ``t2``, ``flair`` and ``truth`` as NIfTI, ``annotation.seg.nrrd`` without some lesions.

    ``truth`` has one value a lesion; those that the annotation has come first. Raises InputError for a folder that is not empty, or
    cannot be written to.
    """
    anatomy = mni152()
    record = sample(anatomy, seed, mean_lesions=9, stripped=True)
    # a good scanner: the sample is to show the tool, and to be small
    scans = {
        name: replace(how, gain=_GAIN, noise=0.015, texture=0.02, thickness_mm=1.0, blur_mm=0.5)
        for name, how in record.acquisitions.items()
    }
    rng = np.random.default_rng(seed)
    by_size = sorted(record.lesions, key=lambda lesion: lesion.diameter_mm * rng.uniform(0.4, 2.5), reverse=True)
    kept = by_size[: len(by_size) - round(MISSED * len(by_size))]
    lesions = tuple(kept + by_size[len(kept) :])
    rendered = render(anatomy, replace(record, acquisitions=scans, lesions=lesions))
    annotated = np.where(rendered.truth <= len(kept), rendered.truth, 0).astype(np.uint8)
    segments = [Segment(f"Metastasis_{n}", f"Metastasis {n}", n, (0.18, 0.80, 0.44)) for n in range(1, len(kept) + 1)]
    with all_or_nothing(out, overwrite=False) as folder:
        for name, image in (*rendered.images.items(), ("truth", rendered.truth)):
            write_image(to_sitk(image, rendered.geometry), folder / f"{name}.nii.gz")
        write_image(segmentation_image(annotated, rendered.geometry, segments), folder / "annotation.seg.nrrd")
