"""LopsidedSeg's core: from a study and its annotation to the lesions that the annotation missed.

A research tool, not for clinical use.
"""

__version__ = "0.1.0"
DISCLAIMER = "Research tool, not for clinical use."
METASTASIS = (  # a brain metastasis, as Slicer's segments say it
    "Segmentation category and type - DICOM master list~SCT^49755003^Morphologically Altered Structure~"
    "SCT^14799000^Neoplasm, Secondary~^^~Anatomic codes - DICOM master list~SCT^12738006^Brain~^^"
)
