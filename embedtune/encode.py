"""Encode token sequences: sorted by length, as many to a batch as a token budget allows, vectors as float16.

Sorting keeps padding near zero; the longest come first, so that a batch that does not fit in memory fails at once.
Results go to their own rows of the output, one batch behind the device, which is never waited for.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.functional import normalize
from transformers import AutoModel, AutoTokenizer, PreTrainedModel

from embedtune import cli
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
) -> int:
    """Write the embeddings of n sequences to the rows of `out`, shape (n, d).

    `sequence(i)` gives whole token sequences of the lengths in `lengths`; a batch holds at most `batch_tokens` tokens,
    padding included (but at least one sequence), and half as many from where the device runs out of memory: what it
    was at the end is returned. `rows` (m,) says which of the n are encoded, None: all. Raises EmbedTuneError for a text
    without tokens, one that does not fit in memory by itself, and a vector that is not finite; `section` of params.yaml
    is named there.
    """
    if len(lengths) and not lengths.min():
        raise EmbedTuneError(
            f"text {int(np.argmin(lengths))} has no tokens, and the tokenizer adds none: it cannot be embedded; "
            "take the text out of the data set"
        )
    rows = np.arange(len(lengths)) if rows is None else rows
    rows = rows[longest_first(lengths[rows])]
    pending: tuple[NDArray[np.integer], torch.Tensor] | None = None
    done = 0
    with bar(total=len(rows), unit=" texts", desc=description) as progress:
        while done < len(rows):
            longest = int(lengths[rows[done]])
            batch = rows[done : done + batch_size(longest, batch_tokens)]
            vectors = _embed(model, *pad([sequence(row) for row in batch], pad_id), pooling, normalized)
            if vectors is None:
                batch_tokens = _fewer_tokens(len(batch), longest, section, description)
                continue
            if pending:
                _store(pending, out, section)
            pending = batch, vectors
            done += len(batch)
            progress.update(len(batch))
        if pending:
            _store(pending, out, section)
    return batch_tokens


def _embed(
    model: PreTrainedModel, ids: NDArray[np.int64], mask: NDArray[np.int64], pooling: str, normalized: bool
) -> torch.Tensor | None:
    """Embeddings (batch, d) in fp32, on the device; None where its memory ran out."""
    try:
        input_ids = torch.from_numpy(ids).to(model.device, non_blocking=True)
        attention_mask = torch.from_numpy(mask).to(model.device, non_blocking=True)
        hidden = model(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
        vectors = pool(hidden, attention_mask, pooling).float()
        return normalize(vectors, dim=-1) if normalized else vectors
    except torch.OutOfMemoryError:
        return None


def _fewer_tokens(texts: int, longest: int, section: str, description: str) -> int:
    """The budget of batches after one of so many texts has not fitted in memory."""
    if texts == 1:
        raise EmbedTuneError(
            f"a single text of {longest} tokens does not fit in the device's memory; lower segment.max_tokens in "
            f"params.yaml, write `{section}.precision: bf16`, or free the device of other programs"
        )
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    batch_tokens = texts * longest // 2
    cli.say(f"{description}: out of memory; batches hold at most {batch_tokens} tokens from here on")
    return batch_tokens


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


def longest_first(lengths: NDArray[np.integer]) -> NDArray[np.intp]:
    """Row numbers by falling length, equal ones in their order."""
    return np.argsort(-lengths, kind="stable")


def batch_size(longest: int, batch_tokens: int) -> int:
    """How many sequences, padded to `longest` tokens, hold at most `batch_tokens`; at least one."""
    return max(1, batch_tokens // max(1, longest))


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
