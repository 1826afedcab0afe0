"""The main job in one call: study, annotation and predictor to suggestions."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from .annotation import Annotation
from .candidates import MARGIN_MM, Candidate, Found, above, find_candidates
from .model import ModelCard
from .study import Study
from .volume import Volume

if TYPE_CHECKING:  # torch stays out of here
    from .predict import Predictor, Progress


@dataclass(frozen=True)
class Suggestions:
    """What was found, when (ISO 8601, UTC), and everything that it was found with. ``shown``: of at least ``threshold``
    confidence."""

    study: Study
    annotation: Annotation
    card: ModelCard
    probability: Volume
    found: Found
    threshold: float
    margin_mm: float
    created: str = field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="seconds"))

    @property
    def shown(self) -> tuple[Candidate, ...]:
        """The candidates to look at, the most confident first."""
        return above(self.found.missed, self.threshold)

    @property
    def unused(self) -> tuple[str, ...]:
        """Sequences of the study that the model does not look at."""
        used = {sequence.name for sequence in self.card.input.sequences}
        return tuple(name for name in self.study.others if name not in used)


def suggest(
    predictor: Predictor,
    study: Study,
    annotation: Annotation,
    *,
    threshold: float | None = None,
    margin_mm: float = MARGIN_MM,
    progress: Progress = lambda what, part: None,
) -> Suggestions:
    """Suggest the lesions that the annotation does not have.

    Args:
        predictor: a model on a device.
        study: the reference volume and other sequences.
        annotation: on the reference's grid.
        threshold: the least confidence to show; the model's own where None.
        margin_mm: a candidate this near to an annotated lesion is that lesion.
        progress: see :data:`lopsided.predict.Progress`.

    Raises:
        InputError: the study has not what the model needs.
    """
    card = predictor.model.card
    probability = predictor.probability_map(study, progress)
    progress("Ranking the candidates", 1.0)
    found = find_candidates(probability, annotation.mask, card.calibration, margin_mm)
    return Suggestions(
        study=study,
        annotation=annotation,
        card=card,
        probability=probability,
        found=found,
        threshold=card.threshold if threshold is None else threshold,
        margin_mm=margin_mm,
    )
