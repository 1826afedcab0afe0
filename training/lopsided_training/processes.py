"""Processes that work beside this one, and end with it."""

from __future__ import annotations

import os
from multiprocessing import parent_process
from threading import Thread


def end_with_parent() -> None:
    """To be called first in a process of a pool: where its parent is killed, nobody else tells it to end."""
    Thread(target=_wait, daemon=True).start()


def _wait() -> None:
    if parent := parent_process():
        parent.join()
        os._exit(1)
