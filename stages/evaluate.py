"""evaluate: search with one model's embeddings and measure the rankings (`python -m stages.evaluate base`)."""

from dataclasses import replace

from embedtune.config import paths
from embedtune.core import cli, json_files
from embedtune.data.passages import open_passages
from embedtune.evaluation.cut_widths import cut_means
from embedtune.evaluation.evaluate import DEV, evaluate, figures, read_asked
from embedtune.evaluation.first_passages import first_passage_means
from embedtune.evaluation.per_query import read_slices
from embedtune.models.vector_store import open_store
from embedtune.retrieval.indexes import index_recall, open_index
from embedtune.retrieval.searcher import DenseSearcher, stored_vectors
from embedtune.retrieval.system import describe_dense
from stages.running import name_given, run, stage_params


def main() -> None:
    """Write data/runs/<name>, metrics/<name>.json and metrics/plots/<name>."""
    params = stage_params()
    name = name_given()
    split, cutoffs, search = params.evaluate.split, sorted(set(params.evaluate.cutoffs)), params.evaluate.index_search
    queries = read_asked(paths.QUERIES, paths.QRELS, split)
    store, passages = open_store(paths.embeddings(name)), open_passages(paths.PASSAGES)
    vectors_of, best_passages = stored_vectors(store, queries), params.evaluate.best_passages
    exact = DenseSearcher(vectors_of, store.passages, passages, best_of=best_passages)
    searcher = replace(exact, index=open_index(paths.index(name), search))
    parts = (paths.embeddings(name), paths.index(name), paths.PASSAGES)
    rankings, means = evaluate(
        name,
        searcher,
        queries,
        split,
        cutoffs,
        read_slices(paths.SLICES),
        depth=params.evaluate.depth,
        system=describe_dense(*parts, search=search, best_passages=best_passages),
        run=paths.run(name),
        plots=paths.plots(name),
    )
    if searcher.index:
        means |= index_recall(rankings[split], exact.rank(queries[split], max(cutoffs)), cutoffs)
    if len(passages) > len(passages.document_ids):
        first = first_passage_means(queries[split], store.queries(split), store.passages, passages, cutoffs)
        means |= {f"first_passage_{measure}": mean for measure, mean in first.items()}
    by_prefix = {"": split} | ({f"{DEV}_": DEV} if DEV in queries else {})
    means |= cut_means(
        {prefix: queries[part] for prefix, part in by_prefix.items()},
        {prefix: store.queries(part) for prefix, part in by_prefix.items()},
        store.passages,
        passages,
        params.train.matryoshka_dims,
        cutoffs,
        best_passages,
    )
    json_files.write_json(paths.metrics(name), means)
    told, documents = figures(means, len(queries[split]), split), len(passages.document_ids)
    cli.say(f"evaluate: {name}: {told}, among {documents} documents; wrote {paths.metrics(name)}")


if __name__ == "__main__":
    run(main, "evaluate")
