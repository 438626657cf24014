"""Merge a LoRA adapter into its base: `python -m embedtune.merge models/base adapter merged [--precision bf16]`.

What comes out is a plain model that embeds as base and adapter together do; that is checked on random tokens.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import torch
from torch.nn.functional import normalize
from transformers import AutoModel

from embedtune import cli, files
from embedtune.adapters import is_adapter
from embedtune.device import DTYPES
from embedtune.encode import pool
from embedtune.errors import EmbedTuneError
from embedtune.model import read_settings, save_model
from embedtune.progress import quiet_transformers

TOLERANCE = {"fp32": 1e-4, "fp16": 1e-2, "bf16": 1e-2}  # between numbers of embeddings of length 1
PROBES, PROBE_TOKENS = 16, 32


def merge(base: Path, adapter: Path, target: Path, precision: str = "fp32") -> float:
    """Write base plus adapter to the directory `target` in `precision` (fp32, fp16, bf16).

    Returns the largest difference between the embeddings (length 1) of the written model and those of base with
    adapter, over 16 random sequences. Raises EmbedTuneError when `adapter` is none, or the two differ.
    """
    from peft import PeftModel

    if not is_adapter(adapter):
        raise EmbedTuneError(f"{adapter}: no adapter_config.json there; give the directory of a LoRA adapter")
    quiet_transformers()
    pooling = read_settings(base).pooling
    model = AutoModel.from_pretrained(base, dtype=torch.float32, local_files_only=True)
    adapted = PeftModel.from_pretrained(model, adapter)
    expected = _probe(adapted, model.config, pooling)
    save_model(adapted.merge_and_unload().to(DTYPES[precision]), base, target)
    del model, adapted  # large ones fit in memory once
    written = AutoModel.from_pretrained(target, dtype=torch.float32, local_files_only=True)
    difference = float((_probe(written, written.config, pooling) - expected).abs().max())
    if not difference <= TOLERANCE[precision]:
        raise EmbedTuneError(
            f"{adapter}: merged into {base}, embeddings differ by up to {difference:.1e} from those of the adapter "
            f"(allowed: {TOLERANCE[precision]:.0e}); is it the base that the adapter was trained on?"
        )
    return difference


@torch.inference_mode()
def _probe(model: Any, config: Any, pooling: str) -> torch.Tensor:
    """Embeddings of random tokens, (PROBES, d)."""
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(config.vocab_size, (PROBES, PROBE_TOKENS), generator=generator)
    mask = torch.ones_like(ids)
    hidden = model.eval()(input_ids=ids, attention_mask=mask).last_hidden_state
    return normalize(pool(hidden, mask, pooling).float(), dim=-1)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m embedtune.merge", description="merge a LoRA adapter into its base")
    parser.add_argument("base", type=Path, help="directory of the base model, such as models/base")
    parser.add_argument("adapter", type=Path, help="directory of the adapter, such as models/finetuned/adapter")
    parser.add_argument("target", type=Path, help="directory to write")
    parser.add_argument("--precision", choices=sorted(DTYPES), default="fp32", help="of the written weights")
    arguments = parser.parse_args()
    with files.whole_directory(arguments.target) as partial:
        difference = merge(arguments.base, arguments.adapter, partial, arguments.precision)
    cli.say(f"merge: wrote {arguments.target}; its embeddings differ from the adapter's by {difference:.1e} at most")


if __name__ == "__main__":
    cli.run(main)
