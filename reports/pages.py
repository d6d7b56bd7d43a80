"""What every page of the reports shares: its templates, its style and its one inline script.

A page is one file that works from file://: style and script stand in it, and its policy allows the
script by its digest. Autoescaping is on; only our own style, scripts and figures are marked safe.
"""

import base64
import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import jinja2

HERE = Path(__file__).resolve().parent
STATIC = HERE / "static"


def template(name: str) -> "jinja2.Template":
    """The template `name`; a name that it uses and nobody gives is an error."""
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(HERE / "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(name)


def render(name: str, **context: Any) -> str:
    """The template `name` as text."""
    return template(name).render(**context)


def style(*names: str) -> str:
    """The style sheets `names` after base.css, which all pages share."""
    return "".join(_static(name) for name in ("base.css", *names))


def script(*names: str) -> str:
    """The scripts `names`, each with a scope of its own."""
    return "".join(_static(name) for name in names)


def scoped(*names: str) -> str:
    """The scripts `names` as one: they share one scope, in strict mode."""
    return f'(function () {{\n"use strict";\n{script(*names)}}})();\n'


def digest(text: str) -> str:
    """The sha256 of an inline script, as a policy names it."""
    return base64.b64encode(hashlib.sha256(text.encode("utf-8")).digest()).decode()


def _static(name: str) -> str:
    return (STATIC / name).read_text(encoding="utf-8")
