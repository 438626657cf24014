"""Prepare a base model: weights as safetensors, a fast tokenizer, and the settings that say how it embeds."""

from __future__ import annotations

from pathlib import Path

from transformers import AutoModel, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from embedtune.errors import EmbedTuneError
from embedtune.model import Settings, write_settings
from embedtune.progress import quiet_transformers

UNLIMITED = 1_000_000  # a tokenizer without a limit of its own gives a huge number


def prepare_model(
    source: Path, target: Path, *, pooling: str, normalize: bool, query_instruction: str, passage_instruction: str
) -> Settings:
    """Load the model in `source` (Hugging Face's layout) and write it to `target` as model.py describes.

    Weights keep their precision. Raises EmbedTuneError when `source` is not such a model.
    """
    quiet_transformers()
    if not (source / "config.json").is_file():
        raise EmbedTuneError(f"{source}: no config.json; expected a model directory in Hugging Face's layout")
    try:
        model = AutoModel.from_pretrained(source, dtype="auto", local_files_only=True)
        tokenizer = AutoTokenizer.from_pretrained(source, use_fast=True, local_files_only=True)
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        raise EmbedTuneError(f"{source}: cannot be loaded as a model: {error}") from error
    if not tokenizer.is_fast:
        raise EmbedTuneError(f"{source}: its tokenizer has no fast version (tokenizer.json), which embedtune needs")
    settings = Settings(
        pooling, normalize, query_instruction, passage_instruction, max_tokens=_max_tokens(model, tokenizer)
    )
    model.save_pretrained(target)
    tokenizer.save_pretrained(target)
    write_settings(target, settings, model.config.hidden_size)
    return settings


def _max_tokens(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> int:
    """Tokens the model can read: RoBERTa-style position tables begin after the padding token's number."""
    positions = getattr(model.config, "max_position_embeddings", UNLIMITED)
    table = getattr(getattr(model, "embeddings", None), "position_embeddings", None)
    padding = getattr(table, "padding_idx", None)
    if padding is not None:
        positions -= padding + 1
    return min(positions, tokenizer.model_max_length)
