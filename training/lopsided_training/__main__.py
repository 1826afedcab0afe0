"""``python -m lopsided_training``: the ``lopsided-train`` command."""

from .cli import main

main()
