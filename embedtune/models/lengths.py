"""How long a text a model can read."""

from __future__ import annotations

from transformers import PreTrainedModel, PreTrainedTokenizerBase

UNLIMITED = 1_000_000  # for a model without a position limit; a tokenizer without one has a huge number


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
