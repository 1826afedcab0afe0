"""The Slicer-facing code of LopsidedSeg: MRML, Qt, and the process that does the computing."""
