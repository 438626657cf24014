"""Read and check params.yaml. All problems of a file are reported together, each with its key and value."""

from __future__ import annotations

import json
import re
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
from embedtune.core.errors import EmbedTuneError, Problems


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

    Raises EmbedTuneError naming `path` and the line if it is not valid YAML or a key stands twice, and if it holds no
    sections.
    """
    try:
        yaml = YAML(typ="rt" if as_typed else "safe", pure=True)
        yaml.preserve_quotes = True
        content = yaml.load(text)
    except DuplicateKeyError as error:
        key = re.search(r'duplicate key "(.*?)"', str(error.problem))
        raise EmbedTuneError(
            f"{path}{_line(error)}: not valid YAML: key '{key[1] if key else ''}' stands twice in one section"
        ) from error
    except MarkedYAMLError as error:
        raise EmbedTuneError(f"{path}{_line(error)}: not valid YAML: {error.problem}") from error
    except YAMLError as error:
        raise EmbedTuneError(f"{path}: not valid YAML: {error}") from error
    if not isinstance(content, dict):
        raise EmbedTuneError(f"{path}: expected sections such as `dataset:` and `train:`, got {content!r}")
    return content


def _line(error: MarkedYAMLError) -> str:
    return f":{error.problem_mark.line + 1}" if error.problem_mark else ""


def _read_yaml(path: Path) -> dict[str, Any]:
    try:
        return parse_params(path.read_text(encoding="utf-8"), path)
    except FileNotFoundError as error:
        raise EmbedTuneError(f"{path}: no such file; run this in the project's root") from error
    except UnicodeDecodeError as error:
        raise EmbedTuneError(f"{path}: not UTF-8 text ({error}); save it as UTF-8") from error
