"""A coarse-label dataset: what readers marked and decided, in nnU-Net's raw layout, with what they looked at."""
