"""Processes that work beside this one, and end with it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import get_context, parent_process
from threading import Thread

import torch


@contextmanager
def pool(jobs: int) -> Iterator[ProcessPoolExecutor]:
    """So many of them, of one thread each. What ends the block, such as an error in one, does not wait for work not begun."""
    executor = ProcessPoolExecutor(jobs, get_context("spawn"), _begin)
    try:
        yield executor
    finally:
        executor.shutdown(cancel_futures=True)


def _begin() -> None:
    Thread(target=_wait, daemon=True).start()
    torch.set_num_threads(1)


def _wait() -> None:
    """Where the parent is killed, nobody else tells this one to end."""
    if parent := parent_process():
        parent.join()
        os._exit(1)
