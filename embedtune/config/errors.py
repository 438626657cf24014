"""Turn pydantic's errors into messages about params.yaml: each key with the value found and what was expected."""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from typing import Any, Literal, get_args, get_origin

import pydantic
from pydantic import BaseModel

from embedtune.core.errors import shown


@dataclass(frozen=True)
class Expected:
    """A description of the valid values, for the error message."""

    text: str


def explained(errors: pydantic.ValidationError, content: dict[str, Any], schema: type[BaseModel]) -> dict[str, str]:
    """Dotted key path -> message, for the errors from validating `content` against `schema`.

    Each key has one message, even if pydantic reports an error for each of several alternatives or elements.
    """
    messages: dict[str, str] = {}
    for error in errors.errors(include_url=False):
        keys = [str(key) for key in error["loc"]]
        section, field, known_keys = _resolve(keys, schema)
        where = ".".join(known_keys)
        if error["type"] in ("extra_forbidden", "invalid_key"):
            unknown = keys[len(known_keys)]
            messages[".".join([*known_keys, unknown])] = _unknown_key(unknown, section)
        elif error["type"] == "missing" and error["loc"][-1] == known_keys[-1]:
            messages[where] = f"missing; add it with {_expected(field)}"
        elif where not in messages:
            expected = _expected(field) + _upper_bound(error)
            messages[where] = _wrong_value(_value_at(content, known_keys), expected)
    return messages


def _fields(section: type[BaseModel]) -> dict[str, Any]:
    """A section's fields by the key that params.yaml has for them."""
    return {field.alias or name: field for name, field in section.model_fields.items()}


def _value_at(content: Any, keys: list[str]) -> Any:
    for key in keys:
        content = content[key]
    return content


def _resolve(keys: list[str], section: type[BaseModel]) -> tuple[type[BaseModel], Any, list[str]]:
    """The innermost section that `keys` leads to from `section`, the field there (or None), and the keys that exist."""
    field: Any = None
    depth = 0
    while depth < len(keys):
        if keys[depth] not in _fields(section):
            return section, field, keys[:depth]
        field = _fields(section)[keys[depth]]
        inner = field.annotation
        depth += 1
        if get_origin(inner) is dict and depth < len(keys):  # user-chosen names with a section each
            inner = get_args(inner)[1]
            depth += _is_section(inner)
        if not _is_section(inner):
            return section, field, keys[:depth]
        section = inner
    return section, field, keys


def _is_section(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)


def _expected(field: Any) -> str:
    for extra in [*field.metadata, *_nested_metadata(field.annotation)]:
        if isinstance(extra, Expected):
            return extra.text
    if get_origin(field.annotation) is Literal:
        return "one of " + ", ".join(str(choice) for choice in get_args(field.annotation))
    if field.annotation is bool:
        return "true or false"
    if field.annotation is str:
        return "a text"
    return "a section with the keys " + ", ".join(_fields(field.annotation))


def _nested_metadata(annotation: Any) -> list[Any]:
    return [extra for part in get_args(annotation) for extra in getattr(part, "__metadata__", ())]


def _unknown_key(key: str, section: type[BaseModel]) -> str:
    close = difflib.get_close_matches(key, _fields(section), n=1)
    guess = f"; did you mean '{close[0]}'?" if close else ""
    return f"unknown key{guess or '; known here: ' + ', '.join(_fields(section))}"


def _upper_bound(error: Any) -> str:
    """The largest valid value, where the value is above it and the description does not say it."""
    most = error["ctx"]["le"] if error["type"] == "less_than_equal" else 0
    return f", at most {most:g}" if most > 1 and isinstance(most, float) else f", at most {most}" if most > 1 else ""


def _wrong_value(value: Any, expected: str) -> str:
    found = "null" if value is None else str(value).lower() if isinstance(value, bool) else shown(value)
    message = f"expected {expected}, got {found}"
    is_percentage = isinstance(value, (int, float)) and not isinstance(value, bool) and 1 < value <= 100
    if expected.startswith("a number from 0 to 1") and is_percentage:
        message += f"; for {value:g} % write {value / 100:g}"
    return message
