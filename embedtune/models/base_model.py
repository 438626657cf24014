"""Prepare a base model: weights as safetensors, a fast tokenizer, and sentence-transformers' settings files."""

from __future__ import annotations

from pathlib import Path

import torch
from transformers import AutoModel, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from embedtune.core import json_files
from embedtune.core.errors import EmbedTuneError, ParameterError
from embedtune.core.progress import quiet_transformers
from embedtune.models.saving import POOLER, save_weights
from embedtune.models.settings import Settings, pooling_modes, write_settings

UNLIMITED = 1_000_000  # for a model without a position limit; a tokenizer without one has a huge number


def prepare_model(
    source: Path, target: Path, *, pooling: str, normalize: bool, query_instruction: str, passage_instruction: str
) -> Settings:
    """Load the model in `source` (Hugging Face's layout) and write it to `target` with the files of settings.py.

    Weights keep their dtype. Returns the settings. Raises EmbedTuneError when `source` is not a model, lacks weights or
    has no fast tokenizer, or has sentence-transformers modules other than pooling and normalisation. Raises
    ParameterError when the model's own pooling is not `pooling`.
    """
    quiet_transformers()
    if not (source / "config.json").is_file():
        raise EmbedTuneError(f"{source}: no config.json; expected a model directory in Hugging Face's layout")
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)  # a missing pooler is initialised the same each time; nothing uses it
            model, loading = AutoModel.from_pretrained(
                source, dtype="auto", local_files_only=True, output_loading_info=True
            )
        tokenizer = AutoTokenizer.from_pretrained(source, use_fast=True, local_files_only=True)
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        raise EmbedTuneError(f"{source}: cannot be loaded as a model: {error}") from error
    missing = sorted(key for key in loading["missing_keys"] if not key.startswith(f"{POOLER}."))
    if missing:
        raise EmbedTuneError(
            f"{source}: {len(missing)} weights that the architecture {type(model).__name__} needs are missing, such as "
            f"{missing[0]}; they would be random"
        )
    if not tokenizer.is_fast:
        raise EmbedTuneError(f"{source}: its tokenizer has no fast version (tokenizer.json), which embedtune needs")
    _check_modules(source, pooling)
    settings = Settings(
        pooling, normalize, query_instruction, passage_instruction, max_tokens=max_tokens(model, tokenizer)
    )
    save_weights(model, target)
    tokenizer.save_pretrained(target)
    write_settings(target, settings, model.config.hidden_size)
    return settings


def max_tokens(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> int:
    """The maximum number of tokens that the model can read.

    RoBERTa-style models do not use the first padding_idx + 1 rows of their position embeddings.
    """
    positions = getattr(model.config, "max_position_embeddings", UNLIMITED)
    table = getattr(getattr(model, "embeddings", None), "position_embeddings", None)
    padding = getattr(table, "padding_idx", None)
    if padding is not None:
        positions -= padding + 1
    return min(positions, tokenizer.model_max_length)


def _check_modules(source: Path, pooling: str) -> None:
    """Raise an error if the model's own sentence-transformers files require other modules or another pooling."""
    if (source / "modules.json").is_file():
        types = [str(module["type"]).rsplit(".", 1)[-1] for module in json_files.read_json(source / "modules.json")]
        others = [name for name in types if name not in ("Transformer", "Pooling", "Normalize")]
        if others:
            raise EmbedTuneError(
                f"{source}: the model has modules of type {', '.join(others)}, which embedtune cannot train; choose "
                "one that ends in pooling and normalisation"
            )
    path = source / "1_Pooling" / "config.json"
    if path.is_file():
        own = pooling_modes(json_files.read_json(path))
        if own != [pooling]:
            raise ParameterError(
                "pooling",
                f"expected {', '.join(own) or 'another'}, as the model's own 1_Pooling/config.json says, got "
                f"{pooling}; to go against it, delete that file in a local copy",
            )
