"""Locate a parameter in params.yaml, so that an error can name the place to correct.

The library's errors name the library's own parameters (`max_len`, `precision`). Only a stage knows the section that a
value came from.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence

import yaml
from pydantic import BaseModel

from embedtune.config.paths import PARAMS
from embedtune.config.schema import Params
from embedtune.core.errors import EmbedTuneError, ParameterError


def key_of(parameter: str, sections: Sequence[str]) -> str | None:
    """The dotted key path of a parameter: in the first of `sections` that has it, else the only path that ends in it.

    None if no key path ends in it, or if none in `sections` does and several others do.
    """
    keys = list(_key_paths(Params))
    for section in sections:
        for key in keys:
            if key.startswith(f"{section}.") and key.endswith(f".{parameter}"):
                return key
    elsewhere = [key for key in keys if key.endswith(f".{parameter}")]
    return elsewhere[0] if len(elsewhere) == 1 else None


def in_words_of_params(error: EmbedTuneError, sections: Sequence[str]) -> str:
    """The error's text with each parameter replaced by its key path; `sections` are searched first (see `key_of`)."""
    text = str(error)
    if isinstance(error, ParameterError):
        text = f"{PARAMS}: {key_of(error.parameter, sections) or error.parameter}: {error.problem}"
    return _with_key_paths(text, sections)


def _with_key_paths(text: str, sections: Sequence[str]) -> str:
    return re.sub(r"`(\w+)(?=[`:])", lambda name: f"`{key_of(name[1], sections) or name[1]}", text)


def located_rules(reasons: Mapping[str, str]) -> list[str]:
    """One sentence per gate rule that was not met, with its line in params.yaml; `reasons` is rule -> reason."""
    lines = _lines_of("gate")
    return [
        f"{PARAMS}:{lines.get(rule, 0)}: gate: {rule}: {_with_key_paths(reason, ('gate', 'evaluate'))}"
        for rule, reason in reasons.items()
    ]


def _lines_of(section: str) -> dict[str, int]:
    """Key -> its line in params.yaml (1-based), for the keys of a section."""
    whole = yaml.compose(PARAMS.read_text(encoding="utf-8"), Loader=yaml.SafeLoader)
    assert isinstance(whole, yaml.MappingNode), "params.yaml was checked"
    keys = next(value for key, value in whole.value if key.value == section)
    return {key.value: key.start_mark.line + 1 for key, _ in keys.value}


def _key_paths(section: type[BaseModel], before: str = "") -> Iterator[str]:
    for name, field in section.model_fields.items():
        yield f"{before}{name}"
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from _key_paths(field.annotation, f"{before}{name}.")
