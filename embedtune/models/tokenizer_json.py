"""The content of a tokenizer.json (Hugging Face's tokenizers), and changes to it that keep all the rest as it was."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from embedtune.core.errors import EmbedTuneError

Content = dict[str, Any]


def parse_tokenizer(text: str, path: Path) -> Content:
    """The content of the file at `path`. Raises EmbedTuneError if it is no JSON."""
    try:
        content: Content = json.loads(text)
    except ValueError as error:
        raise EmbedTuneError(f"{path}: cannot be read as a tokenizer: {error}; copy it anew") from error
    return content


def as_tokenizer(content: Content, path: Path) -> Tokenizer:
    """The tokenizer that a content describes. Raises EmbedTuneError, naming `path`, if it describes none."""
    try:
        return Tokenizer.from_str(json.dumps(content))
    except Exception as error:  # the library raises Exception itself
        raise EmbedTuneError(f"{path}: cannot be read as a tokenizer: {error}; copy it anew") from error


def with_special_token(content: Content, token: str, number: int, *, first: bool) -> Content:
    """The content with one more special token around each text, before all others (`first`) or after them."""
    processor = content.get("post_processor")
    parts: list[Content] = _parts(processor, "processors")
    templates = [part for part in parts if part["type"] == "TemplateProcessing"]
    template: Content = (
        templates[0] if templates else {"single": [_piece("Sequence", "A", 0)], "pair": [], "special_tokens": {}}
    )
    single: list[Content] = list(template["single"])
    pair: list[Content] = list(template["pair"] or [*single, _piece("Sequence", "B", 1)])
    for pieces, type_id in ((single, 0), (pair, 0 if first else 1)):
        pieces.insert(0 if first else len(pieces), _piece("SpecialToken", token, type_id))
    known: Content = {**template["special_tokens"]}
    known[token] = {"id": token, "ids": [number], "tokens": [token]}
    new = {"type": "TemplateProcessing", "single": single, "pair": pair, "special_tokens": known}
    others = [part for part in parts if part not in templates[:1]]
    return {**content, "post_processor": {"type": "Sequence", "processors": [*others, new]} if others else new}


def lowers(content: Content) -> bool:
    """Whether the normaliser turns texts into lower case."""
    parts = _parts(content.get("normalizer"), "normalizers")
    return any(part["type"] == "Lowercase" or part.get("lowercase") for part in parts)


def with_lower_case(content: Content) -> Content:
    """The content with a normaliser that turns texts into lower case first."""
    parts = [{"type": "Lowercase"}, *_parts(content.get("normalizer"), "normalizers")]
    return {**content, "normalizer": {"type": "Sequence", "normalizers": parts}}


def _parts(component: Content | None, name: str) -> list[Content]:
    """The parts of a component that may be a sequence of several, one or none."""
    if component is None:
        return []
    return list(component[name]) if component["type"] == "Sequence" else [component]


def _piece(kind: str, name: str, type_id: int) -> Content:
    return {kind: {"id": name, "type_id": type_id}}
