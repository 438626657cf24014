"""evaluate: search with one model's embeddings and measure the rankings (`python -m stages.evaluate base`)."""

import sys
from dataclasses import replace

from embedtune.config import paths
from embedtune.config.reading import load_params
from embedtune.core import cli, json_files
from embedtune.data.corpus import read_queries
from embedtune.data.passages import open_passages
from embedtune.evaluation.evaluate import evaluate
from embedtune.evaluation.first_passages import first_passage_means
from embedtune.evaluation.per_query import read_slices
from embedtune.models.vector_store import open_store
from embedtune.retrieval.indexes import index_recall, open_index
from embedtune.retrieval.searcher import DenseSearcher, stored_vectors
from stages.running import run


def main() -> None:
    """Write data/runs/<name>, metrics/<name>.json and metrics/plots/<name>."""
    params = load_params()
    name = sys.argv[1]
    split, cutoffs = params.evaluate.split, sorted(set(params.evaluate.cutoffs))
    store, passages = open_store(paths.embeddings(name)), open_passages(paths.PASSAGES)
    queries = read_queries(paths.QUERIES, paths.QRELS, split)
    vectors_of = stored_vectors(store, {split: queries})
    exact = DenseSearcher(vectors_of, store.passages, passages, best_of=params.evaluate.best_passages)
    searcher = replace(exact, index=open_index(paths.index(name), params.evaluate.index_search))
    groups, run_to, plots_to = read_slices(paths.SLICES), paths.run(name), paths.plots(name)
    rankings, means = evaluate(name, searcher, queries, cutoffs, groups, run=run_to, plots=plots_to)
    if searcher.index:
        means |= index_recall(rankings, exact.rank(queries, max(cutoffs)), cutoffs)
    if len(passages) > len(passages.document_ids):
        heads = first_passage_means(queries, store.queries(split), store.passages, passages, cutoffs)
        means |= {f"head_{measure}": mean for measure, mean in heads.items()}
    json_files.write_json(paths.metrics(name), means)
    documents = len(passages.document_ids)
    cli.say(f"evaluate: wrote {paths.metrics(name)} ({len(queries)} {split} queries, {documents} documents)")


if __name__ == "__main__":
    run(main, "evaluate")
