"""Render the two files of the report from the templates beside this module."""

from __future__ import annotations

import re
from typing import Any

import jinja2
from markupsafe import Markup, escape


def page(content: dict[str, Any]) -> str:
    """The HTML page: a single file that loads nothing else."""
    return _environment(html=True).get_template("page.html.j2").render(content)


def summary(content: dict[str, Any]) -> str:
    """The Markdown summary, for a pull request."""
    return _environment(html=False).get_template("report.md.j2").render(content)


def code(text: str) -> Markup:
    """The text for HTML, with what stands in backticks as code."""
    return Markup(re.sub(r"`([^`]+)`", r"<code>\1</code>", str(escape(text))))


def _environment(html: bool) -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("embedtune.comparison.report", "."),
        autoescape=html,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["code"] = code
    return environment
