"""Pass token sequences through a model, in batches of similar length under a token budget.

Sorting by length keeps padding near zero. The longest sequences come first, so that a batch that does not fit in memory
fails at once. A GPU copies the vectors of a batch to the host as soon as it has computed them; this process reads them
once the next batch has been launched.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.functional import normalize
from transformers import AutoModel, AutoTokenizer, PreTrainedModel

from embedtune.compute.device import is_out_of_memory
from embedtune.core import cli
from embedtune.core.errors import EmbedTuneError
from embedtune.core.progress import bar, quiet_transformers
from embedtune.models.attention import attend_by_matrix_products
from embedtune.models.padding import batch_size, longest_first, pad
from embedtune.models.pooling import pool


def load_backbone(directory: Path, dtype: torch.dtype, device: torch.device) -> PreTrainedModel:
    """The model in `directory`, on `device`, in `dtype`, without dropout."""
    quiet_transformers()
    model = AutoModel.from_pretrained(directory, dtype=dtype, local_files_only=True, trust_remote_code=False)
    model.config.use_cache = False  # a decoder would cache keys and values that nothing uses
    model = model.to(device).eval()
    if dtype == torch.bfloat16:
        attend_by_matrix_products(model)
    return model


def pad_token_id(directory: Path) -> int:
    """The tokenizer's padding id, or 0 if it has none (padding is masked anyway)."""
    return AutoTokenizer.from_pretrained(directory, local_files_only=True, trust_remote_code=False).pad_token_id or 0


def encode(
    model: PreTrainedModel,
    sequence: Callable[[int], NDArray[np.integer]],
    lengths: NDArray[np.integer],
    out: NDArray[np.floating],
    *,
    pooling: str,
    normalized: bool,
    **options: Any,
) -> int:
    """Write the embeddings of n sequences to the rows of `out`, shape (n, d), as `forward` does with `options`."""

    def embeddings(hidden: Any, mask: torch.Tensor) -> torch.Tensor:
        vectors = pool(hidden.last_hidden_state, mask, pooling).float()
        return normalize(vectors, dim=-1) if normalized else vectors

    return forward(model, sequence, lengths, out, read=embeddings, **options)


@torch.inference_mode()
def forward(
    model: PreTrainedModel,
    sequence: Callable[[int], NDArray[np.integer]],
    lengths: NDArray[np.integer],
    out: NDArray[np.floating],
    *,
    read: Callable[[Any, torch.Tensor], torch.Tensor],
    pad_id: int,
    batch_tokens: int,
    types: Callable[[int], NDArray[np.integer]] | None = None,
    rows: NDArray[np.integer] | None = None,
    first: int = 0,
    stored: Callable[[int, int], None] = lambda done, batch_tokens: None,
    description: str = "encode",
    unit: str = " texts",
) -> int:
    """Write what a model says of n sequences to the rows of `out`, shape (n, d), in the dtype of `out`.

    `sequence(i)` gives the token ids of sequence i with special tokens, `types(i)` its token types (None: the model
    takes none), `lengths` (n,) their numbers. `read` turns the model's output and the attention mask of a batch into
    rows (batch, d). A batch has at most `batch_tokens` tokens with padding, but at least one sequence. When the device
    runs out of memory, the budget becomes half the size of the batch that failed; the budget at the end is returned.
    `rows` (m,) selects the sequences (None: all); the longest come first, and the first `first` of them are there
    already. `stored` is called with the number of those that are there, and the budget, whenever a batch has been
    written to `out`. Raises EmbedTuneError for a sequence without tokens, for one that does not fit in memory by
    itself, and for a row that is not finite.
    """
    if len(lengths) and not lengths.min():
        raise EmbedTuneError(
            f"text {int(np.argmin(lengths))} has no tokens, and the tokenizer adds none: it cannot be embedded; "
            "take the text out of the data set"
        )
    rows = np.arange(len(lengths)) if rows is None else rows
    rows = rows[longest_first(lengths[rows])]
    pending: _Pending | None = None
    done = first
    with bar(total=len(rows), initial=first, unit=unit, desc=description) as progress:
        while done < len(rows):
            longest = int(lengths[rows[done]])
            batch = rows[done : done + batch_size(longest, batch_tokens)]
            ids, mask = pad([sequence(row) for row in batch], pad_id)
            kinds = {} if types is None else {"token_type_ids": pad([types(row) for row in batch], 0)[0]}
            found = _outputs(model, {"input_ids": ids, "attention_mask": mask, **kinds}, read)
            if found is None:
                batch_tokens = _fewer_tokens(len(batch), longest, description)
                continue
            if pending:
                _store(pending, out, model.dtype)
                stored(done, batch_tokens)
            pending = _Pending(batch, *_copied_to_host(found))
            done += len(batch)
            progress.update(len(batch))
        if pending:
            _store(pending, out, model.dtype)
            stored(done, batch_tokens)
    return batch_tokens


@contextlib.contextmanager
def evaluating(model: torch.nn.Module) -> Iterator[None]:
    """Without dropout within the context; the model's mode is restored."""
    was_training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(was_training)


def _outputs(
    model: PreTrainedModel,
    features: dict[str, NDArray[np.int64]],
    read: Callable[[Any, torch.Tensor], torch.Tensor],
) -> torch.Tensor | None:
    """The rows (batch, d) in fp32 on the device, or None if the device ran out of memory."""
    try:
        inputs = {name: _to_device(array, model.device) for name, array in features.items()}
        return read(model(**inputs), inputs["attention_mask"])
    except RuntimeError as error:
        if is_out_of_memory(error):
            return None
        raise


def _fewer_tokens(texts: int, longest: int, description: str) -> int:
    """The token budget after a batch of `texts` sequences, padded to `longest` tokens, did not fit in memory.

    Raises EmbedTuneError if that batch had a single sequence.
    """
    if texts == 1:
        raise EmbedTuneError(
            f"a single text of {longest} tokens does not fit in the device's memory; lower `max_tokens`, write "
            "`precision: bf16`, or free the device of other programs"
        )
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    batch_tokens = texts * longest // 2
    cli.say(f"{description}: out of memory; batches hold at most {batch_tokens} tokens from here on")
    return batch_tokens


@dataclass(frozen=True)
class _Pending:
    """A batch whose vectors are on their way to the host: they are there when `arrived`, if any, is reached."""

    rows: NDArray[np.integer]
    vectors: torch.Tensor
    arrived: torch.cuda.Event | None


def _to_device(array: NDArray[np.int64], device: torch.device) -> torch.Tensor:
    """The array on `device`. From pinned memory a GPU copies it while this process goes on."""
    tensor = torch.from_numpy(array)
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor.to(device)


def _copied_to_host(vectors: torch.Tensor) -> tuple[torch.Tensor, torch.cuda.Event | None]:
    """The vectors on the host. A GPU copies them to pinned memory, in its own time: until the event they are not there.

    A plain `.cpu()` would wait for everything launched until then, and so for the next batch.
    """
    if vectors.device.type != "cuda":
        return vectors.cpu(), None
    host = torch.empty(vectors.shape, dtype=vectors.dtype, pin_memory=True)
    host.copy_(vectors, non_blocking=True)
    arrived = torch.cuda.Event()
    arrived.record()
    return host, arrived


def _store(pending: _Pending, out: NDArray[np.floating], precision: torch.dtype) -> None:
    if pending.arrived is not None:
        pending.arrived.synchronize()
    rows, computed = pending.rows, pending.vectors.numpy()
    with np.errstate(over="ignore"):
        values = computed.astype(out.dtype)
    if not np.isfinite(values).all():
        row = int(np.argmin(np.isfinite(values).all(1)))
        raise EmbedTuneError(
            f"the model's output for text {rows[row]} is not finite: {_reason(computed[row], out, precision)}"
        )
    out[rows] = values


def _reason(vector: NDArray[np.float32], out: NDArray[np.floating], precision: torch.dtype) -> str:
    """Why a vector cannot be stored, and what to do: the file, the precision or the model's weights are the cause."""
    if np.isfinite(vector).all():
        return (
            f"it has numbers of up to {np.abs(vector).max():.3g}, and the file of vectors, in {out.dtype}, holds "
            f"{np.finfo(out.dtype).max:.0f} at most; write `normalize: true`, or choose another model"
        )
    if precision == torch.float32:
        return "the model gives such numbers in fp32 itself; its weights may be damaged: take another copy of the model"
    return "the model overflows in this precision; write `precision: bf16` or `fp32`"
