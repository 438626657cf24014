"""Load a base model's weights, and refuse a model whose files say that it is something else than what gets loaded."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModel, PreTrainedModel
from transformers.models.auto import modeling_auto
from transformers.models.auto.configuration_auto import CONFIG_MAPPING_NAMES

from embedtune.core import json_files
from embedtune.core.errors import EmbedTuneError
from embedtune.models.saving import POOLER

KINDS = (  # of classes with one encoder or decoder that turns tokens into vectors; the head of some is left out
    modeling_auto.MODEL_MAPPING_NAMES,
    modeling_auto.MODEL_FOR_TEXT_ENCODING_MAPPING_NAMES,
    modeling_auto.MODEL_FOR_MASKED_LM_MAPPING_NAMES,
    modeling_auto.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
    modeling_auto.MODEL_FOR_PRETRAINING_MAPPING_NAMES,
)
CONSTANTS = (".position_ids", ".inv_freq", ".attn.bias", ".masked_bias")  # computed, and in some older files
SHOWN = 3


def load_source_model(source: Path) -> PreTrainedModel:
    """The model in the directory `source` (Hugging Face's layout), its weights in their own dtype.

    Raises EmbedTuneError when the directory holds no model, when a file cannot be read, when weights are missing, are
    more than the architecture has, or are not finite, and when config.json names another class, or code of its own.
    """
    if not (source / "config.json").is_file():
        raise EmbedTuneError(f"{source}: no config.json; expected a model directory in Hugging Face's layout")
    config = json_files.read_json_object(source / "config.json")
    _check_class(source, config)
    _check_readable(source)
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)  # a missing pooler is initialised the same each time; nothing uses it
            model, loading = AutoModel.from_pretrained(
                source, dtype="auto", local_files_only=True, trust_remote_code=False, output_loading_info=True
            )
    except Exception as error:  # whatever transformers meets in these files, the files are the reason
        raise EmbedTuneError(f"{source}: cannot be loaded as a model: {_told(error)}") from error
    _check_weights(source, model, loading)
    return model


def _check_class(source: Path, config: dict[str, Any]) -> None:
    """Raise EmbedTuneError where config.json names another kind of model than AutoModel loads."""
    kind, own_code = config.get("model_type"), config.get("auto_map") or {}
    if "AutoModel" in own_code or (own_code and kind not in CONFIG_MAPPING_NAMES):
        named = ", ".join(sorted(own_code))
        raise EmbedTuneError(
            f"{source}: the model brings code of its own (auto_map in config.json: {named}), which embedtune does not "
            "run; choose another model, or, where transformers' own class computes the same, take auto_map out of "
            "config.json in a local copy"
        )
    if config.get("is_encoder_decoder"):
        raise EmbedTuneError(
            f"{source}: the model has an encoder and a decoder (is_encoder_decoder in config.json); embedtune tunes "
            "models that have one of the two"
        )
    names = config.get("architectures") or []
    known = {name for mapping in KINDS for name in _names(mapping.get(kind))}
    others = [name for name in names if known and name not in known]
    if others:
        loaded = modeling_auto.MODEL_MAPPING_NAMES.get(kind)
        raise EmbedTuneError(
            f"{source}: config.json says {', '.join(others)}, and its model type {kind} loads as {loaded}: another "
            "model than the files say; choose an embedding model or a pre-trained one, or correct `architectures` in a "
            "local copy where the two are the same"
        )


def _names(classes: str | tuple[str, ...] | list[str] | None) -> tuple[str, ...]:
    return (classes,) if isinstance(classes, str) else tuple(classes or ())


def _check_readable(source: Path) -> None:
    """Raise EmbedTuneError for a safetensors file that is not whole."""
    from safetensors import SafetensorError, safe_open

    for path in sorted(source.glob("*.safetensors")):
        try:
            with safe_open(path, framework="pt") as file:
                file.keys()
        except (SafetensorError, OSError) as error:
            size = path.stat().st_size
            raise EmbedTuneError(
                f"{path}: cannot be read as safetensors ({error}); it has {size} bytes: copy or download it anew"
            ) from error


def _check_weights(source: Path, model: PreTrainedModel, loading: dict[str, Any]) -> None:
    name = type(model).__name__
    missing = sorted(key for key in loading["missing_keys"] if not key.startswith(f"{POOLER}."))
    if missing:
        raise EmbedTuneError(
            f"{source}: {len(missing)} weights that the architecture {name} needs are missing, such as "
            f"{missing[0]}; they would be random"
        )
    parts = {part for part, _ in model.named_children()} - {POOLER}
    constants = {buffer for buffer, _ in model.named_buffers()}
    left_out = sorted(key.removeprefix(f"{model.base_model_prefix}.") for key in loading["unexpected_keys"])
    surplus = [
        key for key in left_out if key.split(".")[0] in parts and key not in constants and not key.endswith(CONSTANTS)
    ]
    if surplus:
        raise EmbedTuneError(
            f"{source}: {len(surplus)} weights have no place in the architecture {name} that config.json describes, "
            f"such as {', '.join(surplus[:SHOWN])}; they would be left out: is config.json the one of these weights?"
        )
    damaged = [key for key, weight in model.state_dict().items() if weight.is_floating_point() and not _finite(weight)]
    if damaged:
        raise EmbedTuneError(
            f"{source}: {len(damaged)} weights hold numbers that are not finite, such as {damaged[0]}; take another "
            "copy of the model"
        )


def _finite(weight: torch.Tensor) -> bool:
    return bool(torch.isfinite(weight).all())


def _told(error: Exception) -> str:
    """The first paragraph of an error's text: transformers' own go on for a screen."""
    if isinstance(error, pickle.UnpicklingError):  # torch advises to run whatever code the file holds
        return "a .bin file is no pickle of weights alone, or not whole; take safetensors, or copy the file anew"
    return str(error).strip().split("\n\n")[0] or type(error).__name__
