"""What the stages of a reranker share: the system whose results it re-orders, and the passages by which it reads."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from embedtune.config import paths
from embedtune.config.systems import BASE, Reranker
from embedtune.core import json_files
from embedtune.data.corpus import Query
from embedtune.data.passages import Passages
from embedtune.models.vector_store import VectorStore, open_store
from embedtune.retrieval.rerank import PassageReader
from embedtune.retrieval.searcher import stored_vectors
from embedtune.retrieval.system import SYSTEM, Description, dense_part


def candidates_of(entry: Reranker) -> Description:
    """The description of the system whose results are re-ordered."""
    description: Description = json_files.read_json(paths.run(entry.candidates) / SYSTEM)
    return description


def chooser_of(entry: Reranker) -> Description:
    """The description of the dense system that chooses a document's passages: the candidates' own, or else base."""
    found: Description = dense_part(candidates_of(entry)) or json_files.read_json(paths.run(BASE) / SYSTEM)
    return found


def store_of(entry: Reranker) -> VectorStore:
    """The vectors of that system."""
    return open_store(Path(chooser_of(entry)["vectors"]["path"]))


def passage_reader(entry: Reranker, passages: Passages, queries: Mapping[str, Sequence[Query]]) -> PassageReader:
    """What chooses the passages of documents for `queries`, which maps a split to its queries in their order."""
    store = store_of(entry)
    vectors_of = stored_vectors(store, queries)
    return PassageReader(passages, paths.CORPUS, vectors_of, store.passages, entry.passages)
