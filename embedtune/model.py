"""The directory of an embedding model: transformers' weights and tokenizer, sentence-transformers' settings.

How token vectors become an embedding (pooling, normalisation) and what is put before a text (prompts) is kept in the
files that sentence-transformers reads, and read back from there: the model directory alone says how it is to be used,
and queries carry the instruction that the model was trained with.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from embedtune import files
from embedtune.errors import EmbedTuneError

if TYPE_CHECKING:
    from peft import PeftModel
    from transformers import PreTrainedModel

ADAPTER = "adapter"  # where a tuned model keeps the adapter that was merged into it
POOLER = "pooler"  # BERT's module for next-sentence prediction; no embedding passes through it
POOLING_KEYS = {
    "cls": "pooling_mode_cls_token",
    "mean": "pooling_mode_mean_tokens",
    "last_token": "pooling_mode_lasttoken",
}


@dataclass(frozen=True)
class Settings:
    """How a model embeds: `pooling` is cls, mean or last_token; `max_tokens` counts special tokens."""

    pooling: str
    normalize: bool
    query_instruction: str
    passage_instruction: str
    max_tokens: int


def write_settings(directory: Path, settings: Settings, dimension: int) -> None:
    """Write the files that make `directory` a sentence-transformers model of embedding size `dimension`."""
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
    """The settings that `write_settings` wrote. Raises EmbedTuneError when the directory has none."""
    pooling_config = files.read_json(directory / "1_Pooling" / "config.json")
    poolings = pooling_modes(pooling_config)
    if len(poolings) != 1:
        raise EmbedTuneError(f"{directory / '1_Pooling' / 'config.json'}: expected one pooling mode, got {poolings}")
    modules = files.read_json(directory / "modules.json")
    prompts = files.read_json(directory / "config_sentence_transformers.json")["prompts"]
    return Settings(
        pooling=poolings[0],
        normalize=any(module["type"].endswith("Normalize") for module in modules),
        query_instruction=prompts["query"],
        passage_instruction=prompts["document"],
        max_tokens=files.read_json(directory / "sentence_bert_config.json")["max_seq_length"],
    )


def pooling_modes(config: dict[str, Any]) -> list[str]:
    """The modes of a 1_Pooling/config.json in params.yaml's words; sentence-transformers 6 writes `pooling_mode`."""
    named = config.get("pooling_mode")
    if named is not None:
        return [str(mode).replace("lasttoken", "last_token") for mode in ([named] if isinstance(named, str) else named)]
    chosen = [key for key, value in config.items() if key.startswith("pooling_mode_") and value is True]
    names = {key: name for name, key in POOLING_KEYS.items()}
    return [names.get(key, key) for key in chosen]


def check_length(what: str, tokens: int, settings: Settings) -> None:
    """Raise EmbedTuneError when the parameter `what` asks for more tokens than the model can read."""
    if tokens > settings.max_tokens:
        raise EmbedTuneError(
            f"params.yaml: {what}: expected at most {settings.max_tokens}, the longest text the model reads, "
            f"got {tokens}"
        )


def _write(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def save_model(backbone: PreTrainedModel, base: Path, target: Path) -> None:
    """Write a tuned model to the directory `target`: its weights in fp32, all else as in the directory `base`."""
    for source in sorted(base.iterdir()):
        if source.name == ADAPTER:  # of an earlier round, merged into the weights
            continue
        if source.is_dir():
            shutil.copytree(source, target / source.name)
        elif source.suffix != ".safetensors" and not source.name.endswith(".safetensors.index.json"):
            shutil.copyfile(source, target / source.name)
    save_weights(backbone, target)


def save_trained(backbone: PreTrainedModel | PeftModel, base: Path, target: Path) -> None:
    """Write what training changed to the directory `target`: an adapter, or as `save_model` does."""
    if hasattr(backbone, "peft_config"):
        save_weights(backbone, target)
    else:
        save_model(backbone, base, target)


def save_weights(backbone: PreTrainedModel | PeftModel, target: Path) -> None:
    """Write weights (an adapter's own) and config to the directory `target`. Raises OSError (ENOSPC) on a full disk."""
    from safetensors import SafetensorError

    try:
        backbone.save_pretrained(str(target))
    except SafetensorError as error:
        if "os error 28" in str(error):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(target)) from error
        raise
