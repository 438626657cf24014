"""Try a model directory in sentence-transformers: texts of unequal length in one batch, against embedtune's vectors.

This is how a user loads it. A tokenizer that pads wrongly, a lost prompt or a missing module shows here.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from embedtune.compute.device import half_on_gpu, pick_device
from embedtune.core.errors import EmbedTuneError
from embedtune.core.progress import quiet_transformers
from embedtune.models.cross_encoder import load_cross_encoder
from embedtune.models.encoder import load_encoder

TEXTS = (
    "One question in English?",
    "一个很短的问题",
    "a",
    "A text that is much longer than all the others, so that they are padded beside it. " * 4,
    "一段比其他文本长得多的中文，其他文本因此要补齐。" * 6,
)
TOLERANCE = {torch.float32: 1e-3, torch.float16: 1e-2, torch.bfloat16: 1e-2}  # of a cosine


def try_in_sentence_transformers(directory: Path, device: torch.device | None = None) -> float:
    """The lowest cosine between sentence-transformers' vectors and embedtune's, over some queries and passages.

    Both compute on `device` (None: see `pick_device`), in fp16 on a GPU and in fp32 on a CPU. Raises EmbedTuneError
    when sentence-transformers cannot load or run the model, and when a cosine is below 1 - `TOLERANCE`.
    """
    quiet_transformers()
    from sentence_transformers import SentenceTransformer

    device = device or pick_device()
    dtype = half_on_gpu(device)
    encoder = load_encoder(directory, device=device, dtype=dtype)
    ours = [encoder.encode_queries(TEXTS), encoder.encode_passages(TEXTS)]
    del encoder  # memory may hold a large model only once
    try:
        model = SentenceTransformer(str(directory), **_loading(device, dtype))
        options: dict[str, Any] = {"batch_size": len(TEXTS), "show_progress_bar": False}
        theirs = [model.encode_query(list(TEXTS), **options), model.encode_document(list(TEXTS), **options)]
    except Exception as error:  # whatever it meets in these files, its users will meet too
        raise EmbedTuneError(f"sentence-transformers cannot use the model: {error}") from error
    cosines = [_cosines(own.astype(np.float64), np.asarray(other)) for own, other in zip(ours, theirs, strict=True)]
    lowest = float(np.min(cosines))
    if not lowest >= 1 - TOLERANCE[dtype]:
        kind, text = np.unravel_index(int(np.argmin(np.nan_to_num(cosines, nan=-1))), (2, len(TEXTS)))
        raise EmbedTuneError(
            f"sentence-transformers gives other vectors than embedtune: in a batch of {len(TEXTS)} texts, the cosine "
            f"of the {('query', 'passage')[kind]} {TEXTS[text][:30]!r} is {lowest:.3f} instead of 1; its tokenizer "
            "or settings files say something else than what was trained"
        )
    return lowest


def try_cross_encoder(directory: Path, device: torch.device | None = None) -> float:
    """The largest difference between sentence-transformers' scores of some pairs and embedtune's, as a share.

    It is a share of the range of the scores, 1 at least. Raises EmbedTuneError when sentence-transformers cannot load
    or run the cross-encoder, and when the difference exceeds `TOLERANCE`.
    """
    quiet_transformers()
    from sentence_transformers import CrossEncoder

    device = device or pick_device()
    dtype = half_on_gpu(device)
    own = load_cross_encoder(directory, device, dtype)
    pairs = [(query, document) for query in TEXTS[:2] for document in TEXTS]
    numbers = [(TEXTS.index(query), TEXTS.index(document)) for query, document in pairs]
    tokens = own.tokenize(TEXTS)
    ours = own.scores(numbers, tokens, tokens, max_len=own.max_tokens).astype(np.float64)
    del own  # memory may hold a large model only once
    try:
        model = CrossEncoder(str(directory), **_loading(device, dtype))
        theirs = model.predict(
            pairs,
            batch_size=len(pairs),
            show_progress_bar=False,
            activation_fn=torch.nn.Identity(),
            convert_to_numpy=True,
        )
    except Exception as error:  # whatever it meets in these files, its users will meet too
        raise EmbedTuneError(f"sentence-transformers cannot use the cross-encoder: {error}") from error
    difference = float(np.abs(ours - np.asarray(theirs)).max() / max(1.0, float(np.ptp(ours))))
    if not difference <= TOLERANCE[dtype]:
        raise EmbedTuneError(
            f"sentence-transformers gives other scores than embedtune: they differ by {difference:.1e} of their range; "
            "the cross-encoder's tokenizer or settings files say something else than what was trained"
        )
    return difference


def _loading(device: torch.device, dtype: torch.dtype) -> dict[str, Any]:
    """How sentence-transformers is to load either: from the directory alone, and no code of the model's."""
    return {
        "device": str(device),
        "local_files_only": True,
        "trust_remote_code": False,
        "model_kwargs": {"dtype": dtype},
    }


def _cosines(a: NDArray[np.float64], b: NDArray[np.floating]) -> NDArray[np.float64]:
    """The cosine of each row of `a` with the same row of `b`, both (n, d)."""
    return (a * b).sum(1) / (np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1))
