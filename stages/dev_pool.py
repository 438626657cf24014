"""dev_pool: choose the documents that dev questions are ranked among during training."""

import numpy as np

from embedtune.config import paths
from embedtune.core import cli, files
from embedtune.data.corpus import read_queries
from embedtune.data.passages import open_passages
from embedtune.evaluation.dev_pool import pool_documents
from embedtune.models.vector_store import open_store
from embedtune.retrieval.searcher import DenseSearcher, stored_vectors
from stages.running import run, stage_params


def main() -> None:
    """Write data/dev_pool.npy: the numbers of the documents, ascending, int64."""
    params = stage_params()
    store, passages = open_store(paths.embeddings("base")), open_passages(paths.PASSAGES)
    queries = read_queries(paths.QUERIES, paths.QRELS, "dev")
    searcher = DenseSearcher(stored_vectors(store, {"dev": queries}), store.passages, passages)
    rankings = searcher.rank(queries, params.dev_pool.top_documents)
    documents = pool_documents(
        queries, rankings, passages.document_ids, params.dev_pool.random_documents, params.dev_pool.seed
    )
    with files.atomic_file(paths.DEV_POOL) as partial, partial.open("wb") as file:
        np.save(file, documents)
    share = len(documents) / len(passages.document_ids)
    of_all = f"{len(documents)} documents, {share:.0%} of all"
    cli.say(f"dev_pool: wrote {of_all}, for {len(queries)} dev questions to {paths.DEV_POOL}")


if __name__ == "__main__":
    run(main, "dev_pool")
