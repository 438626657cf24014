"""Write the directory of a fine-tuned model: its weights, with all other files copied from its base model."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from peft import PeftModel
    from transformers import PreTrainedModel


ADAPTER = "adapter"  # the folder in a fine-tuned model with the adapter that was merged into it
POOLER = "pooler"  # BERT's module for next-sentence prediction; embeddings do not use it


def save_model(backbone: PreTrainedModel, base: Path, target: Path) -> None:
    """Write a model to the directory `target`: weights in their own dtype, other files as in the directory `base`."""
    for source in sorted(base.iterdir()):
        if source.name == ADAPTER:  # of an earlier round, and merged into the weights
            continue
        if source.is_dir():
            shutil.copytree(source, target / source.name)
        elif source.suffix != ".safetensors" and not source.name.endswith(".safetensors.index.json"):
            shutil.copyfile(source, target / source.name)
    save_weights(backbone, target)


def save_trained(backbone: PreTrainedModel | PeftModel, base: Path, target: Path) -> None:
    """Write the result of training to the directory `target`: an adapter alone, or the model as `save_model` does."""
    if hasattr(backbone, "peft_config"):
        save_weights(backbone, target)
    else:
        save_model(backbone, base, target)


def save_weights(backbone: PreTrainedModel | PeftModel, target: Path) -> None:
    """Write weights (an adapter's alone, if any) and config to the directory `target`."""
    backbone.save_pretrained(str(target))
