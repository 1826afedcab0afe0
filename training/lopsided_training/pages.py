"""Where this package's pages come from."""

from __future__ import annotations

from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined
from lopsided.wording import counted, place


def environment() -> Environment:
    """For the templates of this package, and for those of the core that they use. They have ``counted`` and ``place``."""
    loader = ChoiceLoader([PackageLoader("lopsided_training", ""), PackageLoader("lopsided", "")])
    made = Environment(loader=loader, autoescape=True, undefined=StrictUndefined)
    made.globals.update(counted=counted, place=place)
    return made
