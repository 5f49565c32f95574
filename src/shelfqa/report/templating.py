"""HTML pages from the templates beside this module: everything escaped, and all style in the page itself."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from markupsafe import Markup

_TEMPLATES = Path(__file__).parent / "templates"


def render_template(name: str, **context: Any) -> str:
    """Return the HTML of a template."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined
    from markupsafe import Markup

    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"commas": commas, "percent": percent_text, "svg": Markup}
    environment.filters |= context.pop("filters", {})
    return environment.get_template(name).render(**context)


def style(*names: str) -> Markup:
    """Return the style sheets of these names, one after the other."""
    from markupsafe import Markup

    return Markup("\n").join(Markup((_TEMPLATES / name).read_text(encoding="utf-8")) for name in names)


def commas(number: int | None) -> str:
    """Return a count with commas between the thousands; a dash for none.

    >>> commas(147702), commas(None)
    ('147,702', '–')
    """
    return "–" if number is None else f"{number:,}"


def percent_text(share: float) -> str:
    """Return a share in percent such that only none is 0% and only all is 100%.

    >>> percent_text(0.9996), percent_text(0.457), percent_text(0.034), percent_text(0.0002), percent_text(0.0)
    ('>99.9%', '46%', '3.4%', '<0.1%', '0%')
    """
    percent = 100 * share
    if percent in (0, 100):
        return f"{percent:.0f}%"
    if percent < 0.1:
        return "<0.1%"
    if percent > 99.9:
        return ">99.9%"
    return f"{percent:.1f}%" if percent < 9.95 or percent > 99 else f"{percent:.0f}%"
