"""Pages for any browser, from templates that share a style (``style.css.j2``)."""

from __future__ import annotations

from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined

from .wording import DISCLAIMER, counted, percent, place


def page(template: str, package: str = "lopsided", **content: object) -> str:
    """A template of a package, filled in. It may use those of the core, and says what all say alike."""
    loader = ChoiceLoader([PackageLoader(name, "") for name in dict.fromkeys((package, "lopsided"))])
    environment = Environment(loader=loader, autoescape=True, undefined=StrictUndefined)
    environment.globals.update(counted=counted, percent=percent, place=place, disclaimer=DISCLAIMER)
    return environment.get_template(template).render(**content)
