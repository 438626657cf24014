"""Merge a LoRA adapter into its base model.

The result is a plain model whose embeddings equal those of the base with the adapter. This is checked on random tokens.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch.nn.functional import normalize
from transformers import AutoModel

from embedtune.compute.device import DTYPES
from embedtune.core.errors import EmbedTuneError
from embedtune.core.progress import quiet_transformers
from embedtune.models.adapters import is_adapter
from embedtune.models.pooling import pool
from embedtune.models.saving import save_model
from embedtune.models.settings import read_settings

TOLERANCE = {"fp32": 1e-4, "fp16": 1e-2, "bf16": 1e-2}  # allowed difference between elements of embeddings of norm 1
CHECKED_SEQUENCES, CHECKED_TOKENS = 16, 32


def merge(base: Path, adapter: Path, target: Path, precision: str = "fp32") -> float:
    """Merge the adapter into the base and write the model to the directory `target` in `precision` (fp32, fp16, bf16).

    Returns the largest absolute difference between elements of the embeddings (norm 1) of the written model and of the
    base with the adapter, over 16 random sequences. Raises EmbedTuneError when `adapter` is not a LoRA adapter's
    directory, or when the difference exceeds `TOLERANCE`.
    """
    from peft import PeftModel

    if not is_adapter(adapter):
        raise EmbedTuneError(f"{adapter}: no adapter_config.json there; give the directory of a LoRA adapter")
    quiet_transformers()
    pooling = read_settings(base).pooling
    model = AutoModel.from_pretrained(base, dtype=torch.float32, local_files_only=True, trust_remote_code=False)
    adapted = PeftModel.from_pretrained(model, adapter)
    expected = _embed_random_tokens(adapted, model.config, pooling)
    save_model(adapted.merge_and_unload().to(DTYPES[precision]), base, target)
    del model, adapted  # memory may hold a large model only once
    written = AutoModel.from_pretrained(target, dtype=torch.float32, local_files_only=True, trust_remote_code=False)
    difference = float((_embed_random_tokens(written, written.config, pooling) - expected).abs().max())
    if not difference <= TOLERANCE[precision]:
        raise EmbedTuneError(
            f"{adapter}: merged into {base}, embeddings differ by up to {difference:.1e} from those of the adapter "
            f"(allowed: {TOLERANCE[precision]:.0e}); is it the base that the adapter was trained on?"
        )
    return difference


@torch.inference_mode()
def _embed_random_tokens(model: Any, config: Any, pooling: str) -> torch.Tensor:
    """Normalised fp32 embeddings of random token sequences, shape (PROBES, d)."""
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(config.vocab_size, (CHECKED_SEQUENCES, CHECKED_TOKENS), generator=generator)
    mask = torch.ones_like(ids)
    hidden = model.eval()(input_ids=ids, attention_mask=mask).last_hidden_state
    return normalize(pool(hidden, mask, pooling).float(), dim=-1)
