"""Make a cross-encoder of an embedding model: its weights and tokenizer, with a new head that gives one score."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer, PreTrainedModel

from embedtune.core.errors import EmbedTuneError
from embedtune.core.progress import quiet_transformers
from embedtune.models.lengths import max_tokens
from embedtune.models.saving import POOLER, save_weights

OF_EMBEDDING_MODELS = {  # files that a cross-encoder has not
    "modules.json",
    "sentence_bert_config.json",
    "config_sentence_transformers.json",
    "README.md",
}
ACTIVATION = "torch.nn.modules.{}"  # what sentence-transformers' CrossEncoder applies to a logit


def write_with_new_head(embedder: Path, target: Path, seed: int) -> None:
    """Write the embedding model in `embedder` to the directory `target` as a cross-encoder whose head is random.

    The head (and a pooler, where the architecture has one and the model none or one of zeros) is drawn by `seed`.
    Weights are fp32. Raises EmbedTuneError where the architecture has no such head.
    """
    quiet_transformers()
    tokenizer = AutoTokenizer.from_pretrained(embedder, local_files_only=True, trust_remote_code=False)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        try:
            model = AutoModelForSequenceClassification.from_pretrained(
                embedder, num_labels=1, dtype=torch.float32, local_files_only=True, trust_remote_code=False
            )
        except ValueError as error:
            raise EmbedTuneError(f"{embedder}: transformers knows no such model that scores pairs: {error}") from error
        _draw_empty_pooler(model)
    if model.config.pad_token_id is None:  # a decoder's head reads the last token that is no padding
        model.config.pad_token_id = tokenizer.pad_token_id
    for source in sorted(embedder.iterdir()):
        if source.is_file() and source.name not in OF_EMBEDDING_MODELS and ".safetensors" not in source.name:
            shutil.copyfile(source, target / source.name)
    save_weights(model, target)
    set_longest(target, max_tokens(model.base_model, tokenizer))


def _draw_empty_pooler(model: PreTrainedModel) -> None:
    """Draw a pooler of zeros anew: some embedding models bring such a one along, since they do not use it."""
    pooler = getattr(model.base_model, POOLER, None)
    if pooler is not None and not any(parameter.any() for parameter in pooler.parameters()):
        torch.nn.init.normal_(pooler.dense.weight, std=getattr(model.config, "initializer_range", 0.02))


def set_longest(directory: Path, tokens: int) -> None:
    """Note in tokenizer_config.json how long a pair the model reads; both peers take it from there."""
    path = directory / "tokenizer_config.json"
    config = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    config["model_max_length"] = tokens
    path.write_text(json.dumps(config, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def set_activation(directory: Path, probability: bool) -> None:
    """Note in config.json whether sentence-transformers is to give a logit's sigmoid, or the logit as it is."""
    path = directory / "config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    module = "activation.Sigmoid" if probability else "linear.Identity"
    config["sentence_transformers"] = {
        **config.get("sentence_transformers", {}),
        "activation_fn": ACTIVATION.format(module),
    }
    path.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", encoding="utf-8")
