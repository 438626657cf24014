"""Texts of data sets for people: without the control characters that a terminal would obey."""

from __future__ import annotations

import json
import re
from typing import Any

# C0 but tab and newline, DEL, C1, lone surrogates, and what turns the direction of writing (Trojan Source, 2021)
CONTROLS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff\u202a-\u202e\u2066-\u2069]")


def visible(text: str) -> str:
    r"""The text with control characters as escapes such as \x1b; newlines and tabs stay."""
    return CONTROLS.sub(lambda found: found[0].encode("unicode_escape").decode("ascii"), text)


def one_line(text: str) -> str:
    """The text on one line, with single spaces, and `visible`."""
    return visible(" ".join(text.split()))


def json_text(value: Any) -> str:
    """The value as indented JSON that a terminal can show; control characters are JSON's own escapes."""
    text = json.dumps(value, ensure_ascii=False, indent=2)
    return CONTROLS.sub(lambda found: f"\\u{ord(found[0]):04x}", text)
