"""What kind of model a directory holds: one that embeds a text, or a cross-encoder that scores a pair of texts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from transformers import AutoConfig, AutoModel, AutoModelForSequenceClassification

SCORING = "ForSequenceClassification"  # how the classes of models with a head end, in the architectures of config.json
HEADS = ("classifier", "score")  # transformers' names of the layers that turn a hidden state into a score


def is_cross_encoder(directory: Path) -> bool:
    """Whether the directory's config.json names a model that scores pairs."""
    config = AutoConfig.from_pretrained(directory, local_files_only=True, trust_remote_code=False)
    return any(str(name).endswith(SCORING) for name in config.architectures or ())


def auto_class(directory: Path) -> Any:
    """transformers' class that loads the model in `directory`: its backbone alone, or with the head that scores."""
    return AutoModelForSequenceClassification if is_cross_encoder(directory) else AutoModel
