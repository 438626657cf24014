"""The description of a system, system.json: its parts, each with its path and a hash, and how they rank documents.

    kind dense      model, vectors, index (with its search parameters), passages; best_passages, query_max_len
    kind lexical    terms (BM25's index)
    kind fused      dense and lexical (a description each), by (ranks or scores), rank_constant or weight, depth
    kind reranked   candidates (a description), reranker (a cross-encoder), depth, max_len; dense (a description): what
                    chooses the read_passages passages by which a document is read

Every system's run has one. From it the same system is opened again: to release it, or to answer a new question.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from embedtune.core.errors import EmbedTuneError
from embedtune.core.hashes import content_hash
from embedtune.core.json_files import read_json
from embedtune.data.passages import open_passages
from embedtune.models.vector_store import STORE, open_store
from embedtune.retrieval.bm25 import INDEX, open_bm25
from embedtune.retrieval.fusion import reciprocal_rank_fusion, weighted_score_fusion
from embedtune.retrieval.indexes import META, open_index
from embedtune.retrieval.searcher import DenseSearcher, Fuse, FusedSearcher, LexicalSearcher, Searcher, VectorsOf

SYSTEM = "system.json"
DENSE, LEXICAL, FUSED, RERANKED = "dense", "lexical", "fused", "reranked"
CANDIDATES, RERANKER = "candidates", "reranker"
DOCUMENTS = "documents.json"  # the ids of the texts of a BM25 index
IDENTIFIED_BY = {  # what a part is known by: a small file that holds hashes of the large ones, or a table of texts
    "vectors": STORE,
    "index": META,
    "passages": "passages.parquet",
    "terms": INDEX,
    "model": "",  # the whole directory
    RERANKER: "",
}
Description = Mapping[str, Any]


def describe_dense(vectors: Path, index: Path, passages: Path, *, search: str, best_passages: int) -> dict[str, Any]:
    """The description of a search with the vectors in a store, by one model (which the store names)."""
    made_by = read_json(vectors / STORE)
    return {
        "kind": DENSE,
        "model": {"path": made_by["model"]["path"], "hash": made_by["model"]["hash"]},
        "vectors": _part("vectors", vectors),
        "index": {**_part("index", index), "search": search},
        "passages": _part("passages", passages),
        "best_passages": best_passages,
        "query_max_len": made_by["query_max_len"],
    }


def describe_lexical(terms: Path) -> dict[str, Any]:
    """The description of a search by words with a BM25 index."""
    return {"kind": LEXICAL, "terms": _part("terms", terms)}


def describe_fused(dense: Description, lexical: Description, depth: int, **how: Any) -> dict[str, Any]:
    """The description of a fusion of `depth` documents of each; `how` is by and rank_constant, or by and weight."""
    return {"kind": FUSED, **how, "depth": depth, DENSE: dense, LEXICAL: lexical}


def describe_reranked(
    candidates: Description, chooser: Description, reranker: Path, *, depth: int, read_passages: int, max_len: int
) -> dict[str, Any]:
    """The description of the results of `candidates` whose first `depth` documents a cross-encoder puts in order.

    `chooser` is the dense system by which the `read_passages` passages of a document are chosen.
    """
    return {
        "kind": RERANKED,
        RERANKER: _part(RERANKER, reranker),
        "depth": depth,
        "read_passages": read_passages,
        "max_len": max_len,
        DENSE: chooser,
        CANDIDATES: candidates,
    }


def dense_part(description: Description) -> Description | None:
    """The dense part of a system, the system itself if it is dense; None for a search by words alone."""
    if description["kind"] == DENSE:
        return description
    part: Description | None = description.get(DENSE)
    return part


def check_parts(description: Description, root: Path, only: tuple[str, ...] = tuple(IDENTIFIED_BY)) -> None:
    """Raise EmbedTuneError naming the first part that is not in `root`, the project's directory, or is another now."""
    for name, part in _parts(description):
        path = root / part["path"]
        known_by = path / IDENTIFIED_BY[name]
        if name in only and not known_by.exists():
            raise EmbedTuneError(f"{path}: is not here, and the system needs it; `dvc pull` or `dvc repro` brings it")
        if name in only and content_hash(known_by) != part["hash"]:
            raise EmbedTuneError(f"{path}: is not what the system was measured with; run `dvc checkout` or `dvc repro`")


def open_searcher(
    description: Description,
    root: Path,
    vectors_of: VectorsOf | None,
    rerank: Callable[[Searcher, Description], Searcher] | None = None,
) -> Searcher:
    """The system's searcher, with its data in `root`. `vectors_of` embeds queries; a lexical system needs none.

    `rerank` puts a cross-encoder over a searcher, as the description of a reranked system says; others need none.
    """
    if description["kind"] == RERANKED:
        assert rerank is not None, "a reranked system needs a cross-encoder"
        return rerank(open_searcher(description[CANDIDATES], root, vectors_of), description)
    if description["kind"] == FUSED:
        dense, lexical = (open_searcher(description[part], root, vectors_of) for part in (DENSE, LEXICAL))
        return FusedSearcher(dense, lexical, fuse_of(description), description["depth"])
    if description["kind"] == LEXICAL:
        terms = root / description["terms"]["path"]
        return LexicalSearcher(open_bm25(terms), read_json(terms / DOCUMENTS))
    assert vectors_of is not None, "a dense system needs vectors of queries"
    return DenseSearcher(
        vectors_of,
        open_store(root / description["vectors"]["path"]).passages,
        open_passages(root / description["passages"]["path"]),
        open_index(root / description["index"]["path"], description["index"]["search"]),
        description["best_passages"],
    )


def fuse_of(description: Description) -> Fuse:
    """The function that fuses the rankings of a fused system's parts."""
    if description["by"] == "ranks":
        return functools.partial(reciprocal_rank_fusion, k=description["rank_constant"])
    return functools.partial(weighted_score_fusion, weight=description["weight"])


def _part(name: str, path: Path) -> dict[str, str]:
    return {"path": path.as_posix(), "hash": content_hash(path / IDENTIFIED_BY[name])}


def _parts(description: Description) -> Iterator[tuple[str, Mapping[str, str]]]:
    for name, value in description.items():
        if name in (DENSE, LEXICAL, CANDIDATES):
            yield from _parts(value)
        elif name in IDENTIFIED_BY:
            yield name, value
