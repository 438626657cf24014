"""dev_pool: choose the documents that dev questions are ranked among while training."""

from pathlib import Path

import numpy as np

from embedtune import cli, embeddings, files
from embedtune.config import load_params
from embedtune.corpus import read_queries
from embedtune.dev_pool import pool_documents
from embedtune.passages import open_passages
from embedtune.search import rank_documents


def main() -> None:
    """Write data/dev_pool.npy, the numbers of the documents."""
    params = load_params()
    vectors = Path("data/embeddings/base")
    passages = open_passages(Path("data/passages"))
    queries = read_queries(Path("data/queries"), Path("data/qrels"), "dev")
    rankings = rank_documents(
        embeddings.open_vectors(vectors, embeddings.query_file("dev")),
        embeddings.open_vectors(vectors, embeddings.PASSAGES),
        passages.document,
        passages.document_ids,
        params.dev_pool.top_documents,
    )
    documents = pool_documents(
        queries, rankings, passages.document_ids, params.dev_pool.random_documents, params.dev_pool.seed
    )
    with files.whole_file(Path("data/dev_pool.npy")) as partial, partial.open("wb") as file:
        np.save(file, documents)
    cli.say(f"dev_pool: wrote {len(documents)} documents for {len(queries)} dev questions to data/dev_pool.npy")


if __name__ == "__main__":
    cli.run(main)
