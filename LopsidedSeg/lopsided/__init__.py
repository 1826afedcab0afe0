"""LopsidedSeg's core: from a study and its annotation to the lesions that the annotation missed.

A research tool, not for clinical use.
"""

__version__ = "0.1.0"
