"""Cases as training sees them, made of arrays."""

from typing import Any

import numpy as np
from lopsided_training.patches import PreparedCase, centres_of


def prepared_case(image: np.ndarray, lesion: np.ndarray, **other: Any) -> PreparedCase:
    """``image`` (sequence, k, j, i) and ``lesion`` bool (k, j, i) in voxels of 1 mm; nothing is hidden or trusted, or may be withheld."""
    nothing, sequences = np.zeros_like(lesion), len(image)
    fields = {
        "name": "x",
        "image": image.astype(np.float16),
        "lesion": lesion,
        "trusted": nothing,
        "hidden": nothing,
        "centres": centres_of(lesion),
        "present": np.ones(sequences, bool),
        "optional": np.zeros(sequences, bool),
        "spacing_mm": (1.0, 1.0, 1.0),
    }
    return PreparedCase(**fields | other)
