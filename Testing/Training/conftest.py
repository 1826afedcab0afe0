"""The tests of losses share ``descent``."""

import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parent)]
