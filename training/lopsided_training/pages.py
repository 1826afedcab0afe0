"""Where this package's pages come from."""

from __future__ import annotations

from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined


def environment() -> Environment:
    """For the templates of this package, and for those of the core that they use."""
    loader = ChoiceLoader([PackageLoader("lopsided_training", ""), PackageLoader("lopsided", "")])
    return Environment(loader=loader, autoescape=True, undefined=StrictUndefined)
