"""hybrid: fuse a model's rankings with BM25's, by reciprocal ranks and by scores, and measure both fusions."""

from embedtune.config import paths
from embedtune.config.reading import load_params
from embedtune.core import cli, json_files
from embedtune.data.corpus import read_queries
from embedtune.data.passages import open_passages
from embedtune.evaluation.fusion_weight import best_weight
from embedtune.evaluation.per_query import read_slices
from embedtune.evaluation.results import write_results
from embedtune.models import vector_store
from embedtune.retrieval.dense import rank_documents
from embedtune.retrieval.fusion import reciprocal_rank_fusion, weighted_score_fusion
from embedtune.retrieval.indexes import open_index
from embedtune.retrieval.rankings import Rankings, read_rankings
from stages.running import run


def main() -> None:
    """Write data/runs/hybrid_*, metrics/hybrid_*.json and metrics/plots/hybrid_*."""
    params = load_params()
    split, cutoffs = params.evaluate.split, sorted(set(params.evaluate.cutoffs))
    vectors = paths.embeddings(params.hybrid.model)
    passages = open_passages(paths.PASSAGES)
    ids = passages.document_ids
    index = open_index(paths.index(params.hybrid.model), params.evaluate.index_search)
    lexical = {str(name): read_rankings(paths.LEXICAL, name) for name in dict.fromkeys(("dev", split))}

    def dense(name: str) -> Rankings:
        return rank_documents(
            vector_store.open_vectors(vectors, vector_store.query_file(name)),
            vector_store.open_vectors(vectors, vector_store.PASSAGES),
            passages.document,
            ids,
            lexical[name].documents.shape[1],
            index,
            best_of=params.evaluate.best_passages,
        )

    dev = read_queries(paths.QUERIES, paths.QRELS, "dev")
    tunable = bool(dev) and split != "dev"  # a weight must not be chosen on the questions it is evaluated on
    weight = best_weight(dense("dev"), lexical["dev"], dev, ids) if tunable else 0.5
    queries = read_queries(paths.QUERIES, paths.QRELS, split)
    found, depth = dense(split), max(cutoffs)
    fused = {
        "hybrid_ranks": reciprocal_rank_fusion(found, lexical[split], ids, depth, params.hybrid.rank_constant),
        "hybrid_scores": weighted_score_fusion(found, lexical[split], weight, ids, depth),
    }
    extras: dict[str, dict[str, float]] = {"hybrid_ranks": {}, "hybrid_scores": {"dense_weight": weight}}
    groups = read_slices(paths.SLICES)
    for name, rankings in fused.items():
        places = {"run": paths.run(name), "plots": paths.plots(name)}
        means = write_results(name, queries, rankings, ids, cutoffs, groups, **places)
        json_files.write_json(paths.metrics(name), means | extras[name])
    cli.say(
        f"hybrid: wrote {' and '.join(str(paths.metrics(name)) for name in fused)} ({params.hybrid.model} weighs "
        f"{weight:g} beside BM25{f', chosen on {len(dev)} dev queries' if tunable else ''})"
    )


if __name__ == "__main__":
    run(main, "hybrid", "evaluate")
