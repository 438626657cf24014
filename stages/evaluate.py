"""evaluate: search with one model's vectors and measure the rankings (`python -m stages.evaluate base`)."""

import sys
from pathlib import Path

import numpy as np

from embedtune import cli, embeddings
from embedtune.config import load_params
from embedtune.corpus import read_queries
from embedtune.indexes import index_recall, open_index
from embedtune.measures import per_query_scores
from embedtune.passages import open_passages
from embedtune.per_query import read_slices
from embedtune.results import write_results
from embedtune.search import rank_documents


def main() -> None:
    """Write data/runs/<name>.trec and .per_query.csv, metrics/<name>.json, its groups and curve."""
    params = load_params()
    name = sys.argv[1]
    split, cutoffs = params.evaluate.split, sorted(set(params.evaluate.cutoffs))
    vectors = Path("data/embeddings") / name
    passages = open_passages(Path("data/passages"))
    ids = passages.document_ids
    queries = read_queries(Path("data/queries"), Path("data/qrels"), split)
    query_vectors = embeddings.open_vectors(vectors, embeddings.query_file(split))
    passage_vectors = embeddings.open_vectors(vectors, embeddings.PASSAGES)
    index = open_index(Path("data/indexes") / name, params.evaluate.index_search)
    rankings = rank_documents(
        query_vectors,
        passage_vectors,
        passages.document,
        ids,
        max(cutoffs),
        index,
        best_of=params.evaluate.best_passages,
    )
    extra: dict[str, float] = {}
    if index:
        exact = rank_documents(
            query_vectors, passage_vectors, passages.document, ids, max(cutoffs), best_of=params.evaluate.best_passages
        )
        extra |= index_recall(rankings, exact, cutoffs)
    if len(passages) > len(ids):  # what the first passages alone would give
        heads = passage_vectors[passages.first_passage[:-1]]
        ranked = rank_documents(query_vectors, heads, np.arange(len(ids), dtype=np.int32), ids, max(cutoffs))
        means = per_query_scores(queries, ranked, ids, cutoffs).mean()
        extra |= {f"head_{measure}": float(mean) for measure, mean in means.items()}
    groups = read_slices(Path("data/slices.csv"))
    write_results(name, queries, rankings, ids, cutoffs, groups, extra)
    cli.say(f"evaluate: wrote metrics/{name}.json ({len(queries)} {split} queries, {len(ids)} documents)")


if __name__ == "__main__":
    cli.run(main)
