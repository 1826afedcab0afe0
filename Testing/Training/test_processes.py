"""Processes that simulate or prepare end with the one that started them, however that ends."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

SIMULATE = """
import sys
from lopsided_training.simulate import simulate
if __name__ == "__main__":
    say = lambda *_: print("begun", flush=True)
    simulate([sys.argv[1]], Path(sys.argv[3]), studies=99, seed=1, jobs=2, progress=say)
"""
PREPARE = """
import sys, time
from lopsided_training import patches
from lopsided_training.config import FitConfig
from lopsided_training.dataset import read_dataset
if __name__ == "__main__":
    patches.shutil.disk_usage = lambda _: print("begun", flush=True) or time.sleep(60)
    patches.prepare(read_dataset(Path(sys.argv[2])), FitConfig(), Path(sys.argv[3]), jobs=2)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="ends those that are left as a group")
@pytest.mark.parametrize("work", [SIMULATE, PREPARE], ids=["simulate", "prepare"])
def test_they_end_when_their_parent_is_killed(work: str, label_map: Path, dataset: Path, tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(f"from pathlib import Path\n{work}", encoding="utf-8")
    arguments = [sys.executable, str(script), str(label_map), str(dataset), str(tmp_path / "out")]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, start_new_session=True) as parent:
        assert parent.stdout is not None
        assert parent.stdout.readline() == b"begun\n"
        parent.kill()
        try:
            parent.communicate(timeout=20)  # until nobody has its output open
        except subprocess.TimeoutExpired:
            os.killpg(parent.pid, signal.SIGKILL)
            raise
