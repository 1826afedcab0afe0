"""The one error that a user can mend, and what is asked of all others."""

from __future__ import annotations

# PyTorch has an exception for its own GPU allocator alone: CPUs' (Linux, Windows), Apple's, drivers' and libraries' (cuDNN,
# oneDNN, C++, ITK) say it
_SHORT = (
    "out of memory",
    "allocate memory",
    "not enough memory",
    "alloc_failed",
    "could not create a primitive",
    "could not execute a primitive",
    "bad_alloc",
    "bad allocation",
)


class InputError(ValueError):
    """The user's input cannot be used.

    The message is one line: what was wrong, where, and what to do next. Command lines show it without a
    traceback and exit with code 2; anything else that escapes is our own failure.
    """


def is_shortage(error: BaseException) -> bool:
    """Whether there was not enough memory, so that less at once may help."""
    return isinstance(error, MemoryError) or any(words in str(error).lower() for words in _SHORT)


def reason(error: BaseException) -> str:
    """The first line of what a library says."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
