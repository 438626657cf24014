"""docs/parameters.md, made from profiles/default.yaml: every parameter with its shipped value and its comment."""

from __future__ import annotations

import re
from pathlib import Path

from tools.markdown import table

ROOT = Path(__file__).parents[1]
DEFAULTS, PAGE = ROOT / "profiles" / "default.yaml", ROOT / "docs" / "parameters.md"
HEAD = """# Parameters

Every parameter of `params.yaml` with its shipped value. In each section what people set stands first. A value's
alternatives are parted by `|`. This page is made from `profiles/default.yaml` (`python -m tools.readme`).
"""
ENTRY = re.compile(r"^  (?P<key>[^:]+): (?P<value>.*?)(?:\s+# (?P<comment>.*))?$")


def parameters_page() -> str:
    """The text of the page."""
    parts, notes, rows = [HEAD], list[str](), list[list[str]]()

    def finish() -> None:
        if rows:
            parts.append(table(["key", "shipped", "what it is"], rows) + "\n")
            rows.clear()

    for line in DEFAULTS.read_text(encoding="utf-8").partition("\n\n")[2].splitlines():
        entry = ENTRY.match(line)
        if line.startswith("# "):
            notes.append(line[2:])
        elif entry and not line.strip().startswith("#"):
            rows.append([f"`{entry['key']}`", f"`{entry['value']}`", _cell(entry["comment"] or "")])
        elif line and not line.startswith(" "):
            finish()
            section, _, rest = line.partition(":")
            value, _, comment = rest.partition("# ")
            parts.append(f"## {section}\n")
            if notes or comment:
                parts.append(" ".join([*notes, comment]).strip() + "\n")
            if value.strip():
                parts.append(f"Shipped: `{value.strip()}`\n")
            notes.clear()
    finish()
    return "\n".join(parts)


def _cell(comment: str) -> str:
    return comment.replace("|", "\\|")
