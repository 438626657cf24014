"""FAISS indexes on disk: built from a factory string in shards, searched from memory-mapped files or on all GPUs.

    <index>/meta.json          factory, dimension, first row of each shard and its hash
    <index>/shard-000.faiss    an index of consecutive passages

`Flat` has no shards: exact search reads the vectors themselves, block by block (see dense.py). Every other index only
proposes candidates, and their scores are recomputed from the vectors.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import faiss
import numpy as np
from numpy.typing import NDArray

from embedtune.core import json_files
from embedtune.core.errors import ParameterError
from embedtune.core.hashes import content_hash
from embedtune.core.progress import bar
from embedtune.core.seeds import generator
from embedtune.retrieval.dense import BLOCK_ROWS, GPU_CANDIDATES, CandidateSearch, Vectors
from embedtune.retrieval.rankings import Rankings

EXACT = "Flat"
META = "meta.json"


def build_index(
    vectors: Vectors, target: Path, *, factory: str, shard_rows: int, train_rows: int, seed: int
) -> dict[str, Any]:
    """Write an index of `vectors` (n, d), float16, to the directory `target`; return the contents of meta.json.

    `factory` is FAISS's factory string. One index is trained, on at most `train_rows` rows drawn with `seed`; each
    shard is a copy of it that holds `shard_rows` rows. Product quantisers are built without polysemous codes: most of
    their training would go into these, and only a search with the parameter `ht` reads them. Raises ParameterError if
    FAISS rejects the string or cannot train the index.
    """
    starts = [] if factory == EXACT else list(range(0, len(vectors), shard_rows))
    meta: dict[str, Any] = {
        "factory": factory,
        "dimension": int(vectors.shape[1]),
        "shard_starts": starts,
        "hashes": [],
    }
    if factory == EXACT:
        json_files.write_json(target / META, meta)
        return meta
    empty = _trained(vectors, factory, train_rows, seed)
    with bar(total=len(vectors), unit=" passages", desc="index") as progress:
        for number, start in enumerate(starts):
            shard = faiss.clone_index(empty)
            for first in range(start, min(start + shard_rows, len(vectors)), BLOCK_ROWS):
                block = vectors[first : min(first + BLOCK_ROWS, start + shard_rows)]
                shard.add(np.ascontiguousarray(block, dtype=np.float32))
                progress.update(len(block))
            file = target / f"shard-{number:03d}.faiss"
            faiss.write_index(shard, str(file))
            meta["hashes"].append(content_hash(file))
    json_files.write_json(target / META, meta)
    return meta


def check_factory(factory: str, search: str, dimension: int, rows: int) -> None:
    """Raise ParameterError where FAISS refuses the strings, or where `rows` vectors are too few to train the index.

    `factory` and `search` are as in `build_index` and `open_index`. An index of k-means cells (IVF) needs a row for
    each cell, a product quantiser (PQ) one for each of its codes.
    """
    if factory == EXACT:
        return
    try:
        index = faiss.index_factory(dimension, factory, faiss.METRIC_INNER_PRODUCT)
    except RuntimeError as error:
        raise _refused("factory", factory, error) from error
    _set_search(index, search)
    inverted = faiss.try_extract_index_ivf(index)
    quantisers = (getattr(part, "pq", None) for part in (index, inverted))
    needed = max([inverted.nlist if inverted else 0, *(quantiser.ksub for quantiser in quantisers if quantiser)])
    if needed > rows:
        raise ParameterError(
            "factory", f"{factory} is trained on {needed} passages at least, and there are {rows}; use a smaller one"
        )


def open_index(directory: Path, search: str = "", use_gpu: bool = True) -> CandidateSearch | None:
    """The search function of an index that `build_index` wrote, for `rank_documents`; None for `Flat` (exact search).

    `search` holds FAISS's search parameters, such as "nprobe=32" (empty: FAISS's defaults). Raises ParameterError if
    FAISS rejects them.

    The files are memory-mapped, so that memory holds only the parts that searches read. If there are GPUs and `use_gpu`
    is true, an index that has a GPU version is also split across all of them; they answer up to GPU_CANDIDATES
    candidates a query, and the mapped files the deeper searches.
    """
    meta = json_files.read_json(directory / META)
    if meta["factory"] == EXACT:
        return None
    on_gpu = use_gpu and faiss.get_num_gpus() > 0
    shards = []
    for number, start in enumerate(meta["shard_starts"]):
        flag = faiss.IO_FLAG_MMAP if "IVF" in meta["factory"] else faiss.IO_FLAG_MMAP_IFC  # each maps other types
        shard = faiss.read_index(str(directory / f"shard-{number:03d}.faiss"), flag)
        _set_search(shard, search)
        shards.append((start, shard, _on_gpus(shard) if on_gpu else shard))  # a clone keeps the search parameters

    def candidates(queries: Vectors, count: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        wanted = np.ascontiguousarray(queries, dtype=np.float32)
        scores, numbers = [], []
        for start, mapped, fast in shards:
            each = min(count, mapped.ntotal)
            found_scores, found = (fast if each <= GPU_CANDIDATES else mapped).search(wanted, each)
            scores.append(np.where(found < 0, -np.inf, found_scores))
            numbers.append(np.where(found < 0, -1, found + start))
        every, rows = np.concatenate(scores, axis=1), np.concatenate(numbers, axis=1)
        best = np.argsort(-every, axis=1, kind="stable")[:, :count]
        return np.take_along_axis(every, best, 1), np.take_along_axis(rows, best, 1)

    return candidates


def index_recall(found: Rankings, exact: Rankings, cutoffs: list[int]) -> dict[str, float]:
    """`index_recall@k` for each k of `cutoffs`: the mean share of the exact top k documents in the index's top k."""
    result = {}
    for k in cutoffs:
        shares = [
            np.isin(best[best >= 0][:k], ours[:k]).mean()
            for best, ours in zip(exact.documents, found.documents, strict=True)
        ]
        result[f"index_recall@{k}"] = float(np.mean(shares))
    return result


def _trained(vectors: Vectors, factory: str, train_rows: int, seed: int) -> Any:
    try:
        index = faiss.index_factory(vectors.shape[1], factory, faiss.METRIC_INNER_PRODUCT)
        if not index.is_trained:
            _leave_out_polysemous_codes(index)
            rows = np.arange(len(vectors))
            if len(rows) > train_rows:
                rows = np.sort(generator(seed, "index").choice(len(rows), train_rows, replace=False))
            sample = np.empty((len(rows), vectors.shape[1]), dtype=np.float32)
            for start in range(0, len(rows), BLOCK_ROWS):
                sample[start : start + BLOCK_ROWS] = vectors[rows[start : start + BLOCK_ROWS]]
            index.train(sample)
    except RuntimeError as error:
        raise _refused("factory", factory, error) from error
    return index


def _leave_out_polysemous_codes(index: Any) -> None:
    """Turn off the training of polysemous codes (Douze et al. 2016) in a product quantiser, wherever it is nested."""
    index = faiss.downcast_index(index)
    if hasattr(index, "do_polysemous_training"):
        index.do_polysemous_training = False
    for nested in ("index", "base_index", "quantizer", "refine_index"):
        inner = getattr(index, nested, None)
        if inner is not None:
            _leave_out_polysemous_codes(inner)


def _set_search(index: Any, search: str) -> None:
    if re.search(r"(^|,)\s*ht\s*=", search):
        raise ParameterError(
            "index_search", f"ht needs polysemous codes, which indexes are built without, got {search!r}"
        )
    if search:
        try:
            faiss.ParameterSpace().set_index_parameters(index, search)  # type: ignore[arg-type]
        except RuntimeError as error:
            raise _refused("index_search", search, error) from error


def _refused(parameter: str, value: str, error: RuntimeError) -> ParameterError:
    return ParameterError(parameter, f"FAISS refuses {value!r}: {str(error).splitlines()[-1]}")


def _on_gpus(index: Any) -> Any:
    options = faiss.GpuMultipleClonerOptions()
    options.shard = True
    try:
        return faiss.index_cpu_to_all_gpus(index, options)
    except RuntimeError:  # HNSW, for one, has no GPU version
        return index
