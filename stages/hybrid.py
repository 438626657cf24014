"""hybrid: fuse a model's rankings with BM25's, by reciprocal ranks and by scores, and measure both fusions."""

import functools

from embedtune.config import paths
from embedtune.config.reading import load_params
from embedtune.core import cli, json_files
from embedtune.data.corpus import read_queries
from embedtune.data.passages import open_passages
from embedtune.evaluation.evaluate import evaluate
from embedtune.evaluation.fusion_weight import best_weight
from embedtune.evaluation.per_query import read_slices
from embedtune.models.vector_store import open_store
from embedtune.retrieval.fusion import reciprocal_rank_fusion, weighted_score_fusion
from embedtune.retrieval.indexes import open_index
from embedtune.retrieval.rankings import read_rankings
from embedtune.retrieval.searcher import DenseSearcher, Fuse, FusedSearcher, StoredSearcher, stored_vectors
from stages.running import run


def main() -> None:
    """Write data/runs/hybrid_*, metrics/hybrid_*.json and metrics/plots/hybrid_*."""
    params = load_params()
    split, cutoffs = params.evaluate.split, sorted(set(params.evaluate.cutoffs))
    store, passages = open_store(paths.embeddings(params.hybrid.model)), open_passages(paths.PASSAGES)
    queries = {name: read_queries(paths.QUERIES, paths.QRELS, name) for name in dict.fromkeys(("dev", str(split)))}
    ids, dev = passages.document_ids, queries["dev"]
    index = open_index(paths.index(params.hybrid.model), params.evaluate.index_search)
    vectors_of, best_of = stored_vectors(store, queries), params.evaluate.best_passages
    model = DenseSearcher(vectors_of, store.passages, passages, index, best_of)
    lexical = StoredSearcher({name: read_rankings(paths.LEXICAL, name) for name in queries}, queries, ids)
    depth = lexical.rankings[split].documents.shape[1]
    dense = StoredSearcher({name: model.rank(some, depth) for name, some in queries.items()}, queries, ids)
    tunable = bool(dev) and split != "dev"  # a weight must not be chosen on the questions it is evaluated on
    weight = best_weight(dense.rank(dev, depth), lexical.rank(dev, depth), dev, ids) if tunable else 0.5
    ways: dict[str, Fuse] = {
        "hybrid_ranks": functools.partial(reciprocal_rank_fusion, k=params.hybrid.rank_constant),
        "hybrid_scores": functools.partial(weighted_score_fusion, weight=weight),
    }
    extras: dict[str, dict[str, float]] = {"hybrid_ranks": {}, "hybrid_scores": {"dense_weight": weight}}
    groups = read_slices(paths.SLICES)
    for name, fuse in ways.items():
        searcher = FusedSearcher(dense, lexical, fuse, depth)
        run_to, plots_to = paths.run(name), paths.plots(name)
        _, means = evaluate(name, searcher, queries[split], cutoffs, groups, run=run_to, plots=plots_to)
        json_files.write_json(paths.metrics(name), means | extras[name])
    cli.say(
        f"hybrid: wrote {' and '.join(str(paths.metrics(name)) for name in ways)} ({params.hybrid.model} weighs "
        f"{weight:g} beside BM25{f', chosen on {len(dev)} dev queries' if tunable else ''})"
    )


if __name__ == "__main__":
    run(main, "hybrid", "evaluate")
