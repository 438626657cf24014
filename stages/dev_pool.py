"""dev_pool: choose the documents that dev questions are ranked among during training."""

import numpy as np

from embedtune.config import paths
from embedtune.config.reading import load_params
from embedtune.core import cli, files
from embedtune.data.corpus import read_queries
from embedtune.data.passages import open_passages
from embedtune.evaluation.dev_pool import pool_documents
from embedtune.models import vector_store
from embedtune.retrieval.dense import rank_documents
from stages.running import run


def main() -> None:
    """Write data/dev_pool.npy: the numbers of the documents, ascending, int64."""
    params = load_params()
    vectors = paths.embeddings("base")
    passages = open_passages(paths.PASSAGES)
    queries = read_queries(paths.QUERIES, paths.QRELS, "dev")
    rankings = rank_documents(
        vector_store.open_vectors(vectors, vector_store.query_file("dev")),
        vector_store.open_vectors(vectors, vector_store.PASSAGES),
        passages.document,
        passages.document_ids,
        params.dev_pool.top_documents,
    )
    documents = pool_documents(
        queries, rankings, passages.document_ids, params.dev_pool.random_documents, params.dev_pool.seed
    )
    with files.atomic_file(paths.DEV_POOL) as partial, partial.open("wb") as file:
        np.save(file, documents)
    cli.say(f"dev_pool: wrote {len(documents)} documents for {len(queries)} dev questions to data/dev_pool.npy")


if __name__ == "__main__":
    run(main, "dev_pool")
