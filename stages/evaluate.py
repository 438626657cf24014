"""evaluate: search with one model's embeddings and measure the rankings (`python -m stages.evaluate base`)."""

import sys

from embedtune.config import paths
from embedtune.config.reading import load_params
from embedtune.core import cli, json_files
from embedtune.data.corpus import read_queries
from embedtune.data.passages import open_passages
from embedtune.evaluation.first_passages import first_passage_means
from embedtune.evaluation.per_query import read_slices
from embedtune.evaluation.results import write_results
from embedtune.models import vector_store
from embedtune.retrieval.dense import rank_documents
from embedtune.retrieval.indexes import index_recall, open_index
from stages.running import run


def main() -> None:
    """Write data/runs/<name>, metrics/<name>.json and metrics/plots/<name>."""
    params = load_params()
    name = sys.argv[1]
    split, cutoffs = params.evaluate.split, sorted(set(params.evaluate.cutoffs))
    vectors = paths.embeddings(name)
    passages = open_passages(paths.PASSAGES)
    ids = passages.document_ids
    queries = read_queries(paths.QUERIES, paths.QRELS, split)
    query_vectors = vector_store.open_vectors(vectors, vector_store.query_file(split))
    passage_vectors = vector_store.open_vectors(vectors, vector_store.PASSAGES)
    index = open_index(paths.index(name), params.evaluate.index_search)
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
    if len(passages) > len(ids):
        heads = first_passage_means(queries, query_vectors, passage_vectors, passages, cutoffs)
        extra |= {f"head_{measure}": mean for measure, mean in heads.items()}
    groups = read_slices(paths.SLICES)
    places = {"run": paths.run(name), "plots": paths.plots(name)}
    means = write_results(name, queries, rankings, ids, cutoffs, groups, **places)
    json_files.write_json(paths.metrics(name), means | extra)
    cli.say(f"evaluate: wrote {paths.metrics(name)} ({len(queries)} {split} queries, {len(ids)} documents)")


if __name__ == "__main__":
    run(main, "evaluate")
