"""params.yaml as layers: the shipped defaults, the profiles that its first line names, and a person's own edits.

    # profiles: mldr-zh lora

`profiles/default.yaml` holds every parameter with its comment. A profile holds only what differs from it. Applying
profiles writes the defaults with the profiles' values, in their order, and then the edits, which are what params.yaml
differs in from its layers so far. Comments are those of the defaults.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel
from ruamel.yaml import YAML

from embedtune.config.reading import parse_params
from embedtune.config.schema import Params
from embedtune.core.errors import EmbedTuneError, Problems

DEFAULT = "default"
HEADER, NONE = "# profiles: ", "none"
COMMENT_COLUMN = 29  # of default.yaml
Values = dict[tuple[str, ...], Any]  # (section,) or (section, key) -> value


def known_profiles(directory: Path) -> list[str]:
    """The names of the profiles in a directory."""
    return sorted(path.stem for path in directory.glob("*.yaml") if path.stem != DEFAULT)


def applied_profiles(text: str) -> list[str]:
    """The profiles that a params.yaml names in its first line; none if it names none, or has no such line."""
    first = text.partition("\n")[0]
    named = first.removeprefix(HEADER).split() if first.startswith(HEADER) else []
    return [] if named == [NONE] else named


def apply_profiles(text: str, names: Sequence[str], directory: Path, path: Path) -> str:
    """The text of the params.yaml `path`, now `text`, with the profiles `names` in place of those applied before.

    `directory` holds the profiles. Raises EmbedTuneError for a profile that there is not, and where a new one sets a
    parameter that was edited to another value; one that was applied before was edited knowingly.
    """
    edits = edits_of(text, directory, path)
    layers = [_profile(name, directory) for name in names]
    problems = Problems()
    for name, layer in zip(names, layers, strict=True):
        for key, value in layer.items() if name not in applied_profiles(text) else ():
            if key in edits and edits[key] != value:
                problems.add(f"{path}: {'.'.join(key)}", f"is {edits[key]!r} by an edit; profile {name} sets {value!r}")
    problems.raise_if_any("undo these edits, or leave the profile out")
    values: Values = {}
    for layer in (*layers, edits):
        values |= layer
    body = _written(_default(directory).read_text(encoding="utf-8").partition("\n")[2], values)
    return f"{HEADER}{' '.join(names) or NONE}\n{body}"


def edits_of(text: str, directory: Path, path: Path) -> Values:
    """What a params.yaml, of which `text` is the content, has of a person's own: (section, key) -> value.

    Raises EmbedTuneError for a parameter that the defaults lack.
    """
    before = _layered(applied_profiles(text), directory)
    now = _known_values(text, path, before, directory)
    return {key: value for key, value in now.items() if before.get(key, _MISSING) != value}


def values_of(content: dict[str, Any]) -> Values:
    """The content of a parameter file by key. A section of names that people choose is one value."""
    found: Values = {}
    for section, value in content.items():
        keys = Params.model_fields[section].annotation if section in Params.model_fields else None
        if isinstance(value, dict) and isinstance(keys, type) and issubclass(keys, BaseModel):
            found |= {(section, key): inner for key, inner in value.items()}
        else:
            found[(section,)] = value
    return found


_MISSING = object()


def _default(directory: Path) -> Path:
    return directory / f"{DEFAULT}.yaml"


def _profile(name: str, directory: Path) -> Values:
    path = directory / f"{name}.yaml"
    if name == DEFAULT or not path.exists():
        raise EmbedTuneError(f"no profile '{name}'; there are {', '.join(known_profiles(directory))}")
    return _known_values(path.read_text(encoding="utf-8"), path, _layered([], directory), directory)


def _known_values(text: str, path: Path, known: Values, directory: Path) -> Values:
    """The values of the file `path`, whose content is `text`. Raises EmbedTuneError for keys that `known` lacks."""
    values = values_of(parse_params(text, path, as_typed=True))
    problems = Problems()
    for key in values.keys() - known.keys():
        problems.add(f"{path}: {'.'.join(key)}", f"{_default(directory)} has no such parameter")
    problems.raise_if_any()
    return values


def _layered(names: Sequence[str], directory: Path) -> Values:
    default = _default(directory)
    values = values_of(parse_params(default.read_text(encoding="utf-8"), default))
    for name in names:
        values |= _profile(name, directory)
    return values


def _written(text: str, values: Values) -> str:
    """The text of default.yaml with other values; each key of it stands on a line of its own, with its comment."""
    lines: list[str] = []
    section = ""
    left = dict(values)
    for line in text.splitlines():
        name, indented = line.strip().partition(":")[0], line.startswith(" ")
        if line and not indented and not line.startswith("#"):
            section = name
        if (section,) in values:  # its entries are written with the section's own line
            if indented:
                continue
            if line.startswith(f"{section}:"):
                lines += _entries(section, left.pop((section,)))
                continue
        key = (section, name)
        if indented and key in left:
            comment = re.search(r"\s+(# .*)$", line)
            start = f"  {name}: {_one_line(left.pop(key))}"
            line = f"{start.ljust(COMMENT_COLUMN - 2)}  {comment[1]}" if comment else start
        lines.append(line)
    assert not left, "every key of a layer was checked"
    return "\n".join(lines) + "\n"


def _entries(section: str, value: Any) -> list[str]:
    """A section of names that people choose: a list on one line, or a line for each name."""
    if not isinstance(value, dict) or not value:
        return [f"{section}: {_one_line(value)}"]
    return [f"{section}:", *(f"  {_one_line(name)}: {_one_line(inner)}" for name, inner in value.items())]


def _one_line(value: Any) -> str:
    """A value in YAML's flow style; numbers and texts as they were typed."""
    yaml = YAML()
    yaml.width, yaml.default_flow_style, yaml.preserve_quotes = 100_000, True, True
    yaml.representer.add_representer(
        type(None), lambda representer, _: representer.represent_scalar("tag:yaml.org,2002:null", "null")
    )
    for made in _plain(value):
        made.fa.set_flow_style()
    written = io.StringIO()
    yaml.dump([value], written)
    return written.getvalue().strip().removeprefix("[").removesuffix("]")


def _plain(value: Any) -> Iterator[Any]:
    if hasattr(value, "fa"):
        value.ca.items.clear()
        value.ca.comment = None
        yield value
    for inner in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from _plain(inner)
