"""The one error that a user can mend."""

NO_MEMORY = "allocate memory"  # in what ITK says where there is none


class InputError(ValueError):
    """The user's input cannot be used.

    The message is one line: what was wrong, where, and what to do next. Command lines show it without a
    traceback and exit with code 2; anything else that escapes is our own failure.
    """
