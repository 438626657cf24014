"""Render the two files of the report from the templates beside this module."""

from __future__ import annotations

from typing import Any

import jinja2


def page(content: dict[str, Any]) -> str:
    """The HTML page: a single file that loads nothing else."""
    return _environment(escape=True).get_template("page.html.j2").render(content)


def summary(content: dict[str, Any]) -> str:
    """The Markdown summary, for a pull request."""
    return _environment(escape=False).get_template("report.md.j2").render(content)


def _environment(escape: bool) -> jinja2.Environment:
    return jinja2.Environment(
        loader=jinja2.PackageLoader("embedtune.comparison.report", "."),
        autoescape=escape,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
