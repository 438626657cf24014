"""Read and check params.yaml. All problems of a file are reported together, each with its key and value."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pydantic
from ruamel.yaml import YAML
from ruamel.yaml.constructor import DuplicateKeyError
from ruamel.yaml.error import MarkedYAMLError, YAMLError

from embedtune.config.cross_checks import check_together
from embedtune.config.errors import explained
from embedtune.config.renamed import renamed
from embedtune.config.schema import Params
from embedtune.core.errors import EmbedTuneError, Problems, message_line, shown

LARGEST_FILE = 100_000  # characters of a parameter file, some seconds of reading; the shipped one has 15,000
MOST_VALUES = 100_000


def load_params(path: Path = Path("params.yaml")) -> Params:
    """Read and check params.yaml.

    Raises EmbedTuneError if the file is missing or not valid YAML; else naming every unknown, missing or invalid key.
    """
    content = _read_yaml(path)
    problems = Problems()
    for where, what in renamed(content):
        problems.add(f"{path}: {where}", what)
    try:
        params = Params.model_validate(content)
    except pydantic.ValidationError as errors:
        for where, what in explained(errors, content, Params).items():
            problems.add(f"{path}: {where}", what)
        problems.raise_if_any()
        raise
    check_together(params, path, problems)
    problems.raise_if_any()
    return params


def value_text(params: Params, key: str) -> str:
    """The value of a dotted key, such as `train` or `dev_pool.top_documents`, as JSON; "null" without such a key."""
    value: Any = params
    for part in key.split("."):
        value = value.get(part) if isinstance(value, dict) else getattr(value, part, None)
    if isinstance(value, pydantic.BaseModel):
        return value.model_dump_json(by_alias=True)
    return json.dumps(value, ensure_ascii=False)


def parse_params(text: str, path: Path, as_typed: bool = False) -> dict[str, Any]:
    """The content of a parameter file as DVC reads it: YAML 1.2, where `010` is 10 and `yes` a text.

    With `as_typed`, numbers and texts know how they were typed, for writing them again (ruamel's round trip).

    Raises EmbedTuneError naming `path` and the line if it is not valid YAML or a key stands twice, if it holds no
    sections, and if it holds more than any run could need, aliases written out.
    """
    if len(text) > LARGEST_FILE:
        raise EmbedTuneError(f"{path}: {len(text)} characters are more than the {LARGEST_FILE} of the largest file")
    try:
        yaml = YAML(typ="rt" if as_typed else "safe", pure=True)
        yaml.preserve_quotes = True
        content = yaml.load(text)
    except DuplicateKeyError as error:
        key = re.search(r'duplicate key "(.*?)"', str(error.problem))
        twice = message_line(key[1]) if key else ""
        raise EmbedTuneError(
            f"{path}{_line(error)}: not valid YAML: key '{twice}' stands twice in one section"
        ) from error
    except MarkedYAMLError as error:
        raise EmbedTuneError(f"{path}{_line(error)}: not valid YAML: {message_line(str(error.problem))}") from error
    except YAMLError as error:
        raise EmbedTuneError(f"{path}: not valid YAML: {message_line(str(error))}") from error
    except RecursionError as error:
        raise EmbedTuneError(f"{path}: not valid YAML: lists or sections are nested too deeply") from error
    except (ValueError, LookupError, ArithmeticError, TypeError) as error:  # such as a date in a thirteenth month
        raise EmbedTuneError(f"{path}: not valid YAML: a value cannot be read ({message_line(str(error))})") from error
    if _values_in(content, {}) > MOST_VALUES:
        raise EmbedTuneError(
            f"{path}: more than {MOST_VALUES} values once its aliases (*name) are written out; write them out"
        )
    halved = next((text for text in _texts_in(content) if re.search("[\ud800-\udfff]", text)), None)
    if halved is not None:
        raise EmbedTuneError(f"{path}: not valid YAML: {shown(halved)} has half a character (a lone surrogate)")
    if not isinstance(content, dict):
        raise EmbedTuneError(f"{path}: expected sections such as `dataset:` and `train:`, got {shown(content)}")
    return content


def _values_in(content: Any, known: dict[int, float]) -> float:
    """How many values `content` has when each alias is written out; infinite if a value holds itself.

    `known` has the counts by identity, so that a value to which many aliases lead is counted once.
    """
    if not isinstance(content, (dict, list)):
        return 1
    if id(content) not in known:
        known[id(content)] = math.inf  # until it is counted: what meets it inside of it is endless
        inside = content.values() if isinstance(content, dict) else content
        known[id(content)] = 1 + sum(_values_in(value, known) for value in inside)
    return known[id(content)]


def _texts_in(content: Any) -> Iterator[str]:
    """Yield the keys and values of `content` that are texts."""
    if isinstance(content, str):
        yield content
    elif isinstance(content, (dict, list)):
        for inner in (*content, *content.values()) if isinstance(content, dict) else content:
            yield from _texts_in(inner)


def _line(error: MarkedYAMLError) -> str:
    return f":{error.problem_mark.line + 1}" if error.problem_mark else ""


def _read_yaml(path: Path) -> dict[str, Any]:
    try:
        return parse_params(path.read_text(encoding="utf-8"), path)
    except FileNotFoundError as error:
        raise EmbedTuneError(f"{path}: no such file; run this in the project's root") from error
    except UnicodeDecodeError as error:
        raise EmbedTuneError(f"{path}: not UTF-8 text ({error}); save it as UTF-8") from error
    except (IsADirectoryError, NotADirectoryError) as error:
        raise EmbedTuneError(f"{path}: not a file; expected the file with all parameters") from error
