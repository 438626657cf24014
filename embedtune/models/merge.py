"""Merge a LoRA adapter into its base model.

The result is a plain model whose embeddings (or scores) equal those of the base with the adapter. This is checked on
random tokens.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch.nn.functional import normalize

from embedtune.compute.device import DTYPES
from embedtune.core.errors import EmbedTuneError
from embedtune.core.progress import quiet_transformers
from embedtune.models.adapters import is_adapter
from embedtune.models.kinds import auto_class, is_cross_encoder
from embedtune.models.pooling import pool
from embedtune.models.saving import save_model
from embedtune.models.settings import read_settings

TOLERANCE = {"fp32": 1e-4, "fp16": 1e-2, "bf16": 1e-2}  # allowed difference between elements of embeddings of norm 1
CHECKED_SEQUENCES, CHECKED_TOKENS = 16, 32


def merge(base: Path, adapter: Path, target: Path, precision: str = "fp32") -> float:
    """Merge the adapter into the base and write the model to the directory `target` in `precision` (fp32, fp16, bf16).

    Returns the largest absolute difference between elements of the embeddings (norm 1) of the written model and of the
    base with the adapter, over 16 random sequences; of a cross-encoder, between logits over the largest logit.
    Raises EmbedTuneError when `adapter` is not a LoRA adapter's directory, or when the difference exceeds `TOLERANCE`.
    """
    from peft import PeftModel

    if not is_adapter(adapter):
        raise EmbedTuneError(f"{adapter}: no adapter_config.json there; give the directory of a LoRA adapter")
    quiet_transformers()
    pooling = None if is_cross_encoder(base) else read_settings(base).pooling
    loading: dict[str, Any] = {"dtype": torch.float32, "local_files_only": True, "trust_remote_code": False}
    model = auto_class(base).from_pretrained(base, **loading)
    adapted = PeftModel.from_pretrained(model, adapter)
    expected = _of_random_tokens(adapted, model.config, pooling)
    save_model(adapted.merge_and_unload().to(DTYPES[precision]), base, target)
    del model, adapted  # memory may hold a large model only once
    written = auto_class(target).from_pretrained(target, **loading)
    difference = float((_of_random_tokens(written, written.config, pooling) - expected).abs().max())
    difference /= 1.0 if pooling else max(1.0, float(expected.abs().max()))
    if not difference <= TOLERANCE[precision]:
        raise EmbedTuneError(
            f"{adapter}: merged into {base}, {'embeddings' if pooling else 'scores'} differ by up to {difference:.1e} "
            f"from those of the adapter (allowed: {TOLERANCE[precision]:.0e}); is it the base that the adapter was "
            "trained on?"
        )
    return difference


@torch.inference_mode()
def _of_random_tokens(model: Any, config: Any, pooling: str | None) -> torch.Tensor:
    """Normalised fp32 embeddings of random token sequences, (CHECKED_SEQUENCES, d); without a pooling their logits."""
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(config.vocab_size, (CHECKED_SEQUENCES, CHECKED_TOKENS), generator=generator)
    mask = torch.ones_like(ids)
    output = model.eval()(input_ids=ids, attention_mask=mask)
    if pooling is None:
        return output.logits.float()
    return normalize(pool(output.last_hidden_state, mask, pooling).float(), dim=-1)
