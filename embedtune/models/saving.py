"""Write the directory of a fine-tuned model: its weights, with all other files copied from its base model."""

from __future__ import annotations

import json
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
    _name_rope_as_transformers_4(target / "config.json")


def _name_rope_as_transformers_4(config: Path) -> None:
    """Add to config.json the keys in which transformers 4 looks for the rotary embeddings' base and scaling.

    transformers 5 writes `rope_parameters` alone. transformers 4 passes over it and takes a base of 10,000 in silence.
    """
    values = json.loads(config.read_text(encoding="utf-8")) if config.is_file() else {}
    rope = values.get("rope_parameters")
    if not rope or "rope_theta" not in rope:  # none, or one for each kind of layer, which transformers 4 cannot read
        return
    values["rope_theta"] = rope["rope_theta"]
    if rope.get("rope_type", "default") != "default":
        values["rope_scaling"] = {key: value for key, value in rope.items() if key != "rope_theta"}
    config.write_text(json.dumps(values, indent=2, sort_keys=True) + "\n", encoding="utf-8")
