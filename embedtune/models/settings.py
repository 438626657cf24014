"""The directory of an embedding model: weights and tokenizer of transformers, settings of sentence-transformers.

Pooling, normalisation and prompts are written to the files of sentence-transformers and read back from them. The model
directory alone therefore says how to use the model, and queries get the instruction that it was trained with.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from embedtune.core import json_files
from embedtune.core.errors import EmbedTuneError, ParameterError

POOLING_KEYS = {
    "cls": "pooling_mode_cls_token",
    "mean": "pooling_mode_mean_tokens",
    "last_token": "pooling_mode_lasttoken",
}


@dataclass(frozen=True)
class Settings:
    """How a model embeds texts. `pooling` is cls, mean or last_token. `max_tokens` includes special tokens."""

    pooling: str
    normalize: bool
    query_instruction: str
    passage_instruction: str
    max_tokens: int


def write_settings(directory: Path, settings: Settings, dimension: int) -> None:
    """Write the files that make `directory` a sentence-transformers model with embeddings of size `dimension`."""
    modules = [
        {"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"},
        {"idx": 1, "name": "1", "path": "1_Pooling", "type": "sentence_transformers.models.Pooling"},
    ]
    (directory / "1_Pooling").mkdir(exist_ok=True)
    pooling = {key: key == POOLING_KEYS[settings.pooling] for key in POOLING_KEYS.values()}
    _write(directory / "1_Pooling" / "config.json", {"word_embedding_dimension": dimension, **pooling})
    if settings.normalize:
        modules.append({"idx": 2, "name": "2", "path": "2_Normalize", "type": "sentence_transformers.models.Normalize"})
        (directory / "2_Normalize").mkdir(exist_ok=True)
        _write(directory / "2_Normalize" / "config.json", {})
    _write(directory / "modules.json", modules)
    _write(directory / "sentence_bert_config.json", {"max_seq_length": settings.max_tokens, "do_lower_case": False})
    _write(
        directory / "config_sentence_transformers.json",
        {
            "prompts": {"query": settings.query_instruction, "document": settings.passage_instruction},
            "default_prompt_name": None,
            "similarity_fn_name": "cosine" if settings.normalize else "dot",
        },
    )


def read_settings(directory: Path) -> Settings:
    """The settings that `write_settings` wrote. Raises EmbedTuneError without them or without a single pooling mode."""
    pooling_config = json_files.read_json(directory / "1_Pooling" / "config.json")
    poolings = pooling_modes(pooling_config)
    if len(poolings) != 1:
        raise EmbedTuneError(f"{directory / '1_Pooling' / 'config.json'}: expected one pooling mode, got {poolings}")
    modules = json_files.read_json(directory / "modules.json")
    prompts = json_files.read_json(directory / "config_sentence_transformers.json")["prompts"]
    return Settings(
        pooling=poolings[0],
        normalize=any(module["type"].endswith("Normalize") for module in modules),
        query_instruction=prompts["query"],
        passage_instruction=prompts["document"],
        max_tokens=json_files.read_json(directory / "sentence_bert_config.json")["max_seq_length"],
    )


def read_dimension(directory: Path) -> int:
    """The size of the model's vectors, as `write_settings` noted it."""
    return int(json_files.read_json(directory / "1_Pooling" / "config.json")["word_embedding_dimension"])


def pooling_modes(config: dict[str, Any]) -> list[str]:
    """The pooling modes of a 1_Pooling/config.json, with the names of `Settings.pooling`.

    sentence-transformers 6 writes the key `pooling_mode`, earlier versions one `pooling_mode_*` flag per mode.
    """
    named = config.get("pooling_mode")
    if named is not None:
        return [str(mode).replace("lasttoken", "last_token") for mode in ([named] if isinstance(named, str) else named)]
    chosen = [key for key, value in config.items() if key.startswith("pooling_mode_") and value is True]
    names = {key: name for name, key in POOLING_KEYS.items()}
    return [names.get(key, key) for key in chosen]


def check_length(parameter: str, tokens: int, settings: Settings) -> None:
    """Raise ParameterError when `tokens`, the value of `parameter`, exceeds the model's maximum length."""
    if tokens > settings.max_tokens:
        raise ParameterError(
            parameter,
            f"expected at most {settings.max_tokens}, the longest text the model reads, got {tokens}",
        )


def _write(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
