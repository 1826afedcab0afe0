"""``python -m lopsided``: the ``lopsided`` command."""

from .cli import main

main()
