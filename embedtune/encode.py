"""Encode token sequences: sorted by length, as many to a batch as a token budget allows, vectors as float16.

Sorting keeps padding near zero; the longest come first, so that a batch that does not fit in memory fails at once.
Results go to their own rows of the output, one batch behind the device, which is never waited for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.functional import normalize
from transformers import AutoModel, AutoTokenizer, PreTrainedModel

from embedtune.errors import EmbedTuneError
from embedtune.progress import bar, quiet_transformers


def load_encoder(directory: Path, dtype: torch.dtype, device: torch.device) -> PreTrainedModel:
    """The model in `directory`, on `device`, in `dtype`, without dropout."""
    quiet_transformers()
    model = AutoModel.from_pretrained(directory, dtype=dtype, local_files_only=True)
    model.config.use_cache = False  # a decoder would keep keys and values for tokens to come
    return model.to(device).eval()


def pad_token_id(directory: Path) -> int:
    """The tokenizer's padding id (0 if it has none: padding is masked)."""
    return AutoTokenizer.from_pretrained(directory, local_files_only=True).pad_token_id or 0


def pool(hidden: torch.Tensor, mask: torch.Tensor, pooling: str) -> torch.Tensor:
    """Token vectors (batch, length, d) to embeddings (batch, d); last_token finds it whichever side the padding is on.

    `mask` is 1 on tokens and 0 on padding, (batch, length); `pooling` is cls, mean or last_token.
    """
    if pooling == "cls":
        return hidden[:, 0]
    if pooling == "mean":
        weights = mask.unsqueeze(-1).float()  # sums in fp32, as in training
        return (hidden * weights).sum(1) / weights.sum(1)
    last = mask.shape[1] - 1 - mask.flip(1).argmax(1)
    return hidden[torch.arange(len(hidden), device=hidden.device), last]


@torch.inference_mode()
def encode(
    model: PreTrainedModel,
    sequence: Callable[[int], NDArray[np.integer]],
    lengths: NDArray[np.integer],
    out: NDArray[np.floating],
    *,
    pooling: str,
    normalized: bool,
    pad_id: int,
    batch_tokens: int,
    rows: NDArray[np.integer] | None = None,
    section: str = "encode",
    description: str = "encode",
) -> None:
    """Write the embeddings of n sequences to the rows of `out`, shape (n, d).

    `sequence(i)` gives whole token sequences of the lengths in `lengths`; a batch holds at most `batch_tokens` tokens,
    padding included (but at least one sequence). `rows` (m,) says which of the n are encoded, None: all. Raises
    EmbedTuneError for a text without tokens, and where memory is short or a vector not finite; `section` of params.yaml
    is named there.
    """
    if len(lengths) and not lengths.min():
        raise EmbedTuneError(
            f"text {int(np.argmin(lengths))} has no tokens, and the tokenizer adds none: it cannot be embedded; "
            "take the text out of the data set"
        )
    rows = np.arange(len(lengths)) if rows is None else rows
    pending: tuple[NDArray[np.integer], torch.Tensor] | None = None
    with bar(total=len(rows), unit=" texts", desc=description) as progress:
        for places in length_sorted_batches(lengths[rows], batch_tokens):
            batch = rows[places]
            ids, mask = pad([sequence(row) for row in batch], pad_id)
            input_ids = torch.from_numpy(ids).to(model.device, non_blocking=True)
            attention_mask = torch.from_numpy(mask).to(model.device, non_blocking=True)
            try:
                hidden = model(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
            except torch.OutOfMemoryError as error:
                raise EmbedTuneError(
                    f"params.yaml: encode.batch_tokens: {batch_tokens} does not fit in GPU memory; halve it"
                ) from error
            vectors = pool(hidden, attention_mask, pooling)
            vectors = normalize(vectors.float(), dim=-1) if normalized else vectors.float()
            if pending:
                _store(pending, out, section)
            pending = batch, vectors
            progress.update(len(batch))
        if pending:
            _store(pending, out, section)


def _store(pending: tuple[NDArray[np.integer], torch.Tensor], out: NDArray[np.floating], section: str) -> None:
    rows, vectors = pending
    values = vectors.cpu().numpy().astype(out.dtype)
    if not np.isfinite(values).all():
        row = rows[int(np.argmin(np.isfinite(values).all(1)))]
        raise EmbedTuneError(
            f"the embedding of text {row} is not finite: the model overflows in this precision; "
            f"write `{section}.precision: bf16` or `fp32` in params.yaml"
        )
    out[rows] = values


def length_sorted_batches(lengths: NDArray[np.integer], batch_tokens: int) -> Iterator[NDArray[np.intp]]:
    """Row numbers in batches, longest first, each of at most `batch_tokens` tokens when padded."""
    order = np.argsort(-lengths, kind="stable")
    start = 0
    while start < len(order):
        size = max(1, batch_tokens // max(1, int(lengths[order[start]])))
        yield order[start : start + size]
        start += size


def pad(
    sequences: Sequence[NDArray[np.integer]], pad_id: int, multiple_of: int = 1
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Token ids and attention mask, both (batch, longest rounded up to `multiple_of`), padded on the right."""
    longest = -(-max(len(sequence) for sequence in sequences) // multiple_of) * multiple_of
    ids = np.full((len(sequences), longest), pad_id, dtype=np.int64)
    mask = np.zeros_like(ids)
    for row, sequence in enumerate(sequences):
        ids[row, : len(sequence)] = sequence
        mask[row, : len(sequence)] = 1
    return ids, mask
