"""Embed all passages of a corpus and the queries of all splits with one model.

Every GPU takes part. A killed run goes on from what it last noted (encoding_checkpoints.py).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from embedtune.compute import distributed
from embedtune.compute.memory import keep_freed_memory
from embedtune.core.hashes import content_hash
from embedtune.data.passages import Passages
from embedtune.models.encoder import load_encoder
from embedtune.models.encoding_checkpoints import Fill, Progress, encoding_run, fill
from embedtune.models.settings import check_length, read_settings
from embedtune.models.tokenization import frame, tokenize_queries
from embedtune.models.vector_store import PASSAGES, query_part, write_description

Sequence = Callable[[int], NDArray[np.integer]]


def encode_collection(
    directory: Path,
    passages: Passages,
    queries: Mapping[str, list[str]],
    target: Path,
    *,
    scratch: Path,
    device: torch.device,
    dtype: torch.dtype,
    batch_tokens: int,
    query_max_len: int,
) -> None:
    """Write the embeddings of all passages and of each split's queries to the directory `target` (see vector_store.py).

    `directory` holds the model, `queries` maps each split to its query texts. Every process of the group calls this and
    encodes part of the rows. If the run is killed, its finished shards stay in the folder `scratch`, and the next run
    resumes from them. `batch_tokens` is the token budget of a batch. Raises ParameterError when `query_max_len` exceeds
    the model's maximum length, and the errors of `encode`, `encoding_run` and `tokenize_queries`.
    """
    check_length("query_max_len", query_max_len, read_settings(directory))
    keep_freed_memory(device)
    encoder = load_encoder(directory, device=device, dtype=dtype)
    settings = encoder.settings

    def encoding(sequence: Sequence, lengths: NDArray[np.integer], what: str) -> Fill:
        def encode_rows(out: NDArray[np.float16], rows: NDArray[np.int64], which: str, progress: Progress) -> None:
            encoder.encode_tokens(
                sequence,
                lengths,
                out,
                rows=rows,
                first=progress.done,
                stored=progress.note,
                batch_tokens=progress.batch_tokens or batch_tokens,
                description=f"encode {what}{which} ({directory.name})",
            )

        return encode_rows

    around = frame(encoder.tokenizer, settings.passage_instruction)
    with encoding_run(scratch, target) as run:
        whole = encoding(
            lambda i: around.around(passages.tokens(i), passages.max_tokens),
            passages.lengths() + around.length,
            "passages",
        )
        fill(run, f"{PASSAGES}.npy", len(passages), encoder.dimension, whole)
        for split, texts in queries.items():
            tokens = tokenize_queries(encoder.tokenizer, texts, settings.query_instruction, query_max_len)
            lengths = np.array([len(query) for query in tokens], dtype=np.int64)
            whole = encoding(tokens.__getitem__, lengths, f"{split} queries")
            fill(run, f"{query_part(split)}.npy", len(tokens), encoder.dimension, whole)
        if distributed.is_main():
            model = {"path": directory.as_posix(), "hash": content_hash(directory)}
            precision = str(dtype).removeprefix("torch.")
            made_by = {"model": model, "query_max_len": query_max_len, "precision": precision}
            write_description(run, encoder.dimension, [PASSAGES, *map(query_part, queries)], made_by)
