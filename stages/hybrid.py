"""hybrid: fuse a model's results with those of the search by words, in two ways, and measure the rankings."""

from pathlib import Path

from embedtune import cli, embeddings
from embedtune.config import load_params
from embedtune.corpus import read_queries
from embedtune.hybrid import best_weight, fuse_ranks, fuse_scores
from embedtune.indexes import open_index
from embedtune.lexical_search import read_rankings
from embedtune.passages import open_passages
from embedtune.per_query import read_slices
from embedtune.results import write_results
from embedtune.search import Rankings, rank_documents


def main() -> None:
    """Write data/runs/hybrid_*.{trec,per_query.csv}, metrics/hybrid_*.json, their groups and curves."""
    params = load_params()
    split, cutoffs = params.evaluate.split, sorted(set(params.evaluate.cutoffs))
    vectors = Path("data/embeddings") / params.hybrid.model
    passages = open_passages(Path("data/passages"))
    ids = passages.document_ids
    index = open_index(Path("data/indexes") / params.hybrid.model, params.evaluate.index_search)
    lexical = {str(name): read_rankings(Path("data/lexical"), name) for name in dict.fromkeys(("dev", split))}

    def dense(name: str) -> Rankings:
        return rank_documents(
            embeddings.open_vectors(vectors, embeddings.query_file(name)),
            embeddings.open_vectors(vectors, embeddings.PASSAGES),
            passages.document,
            ids,
            lexical[name].documents.shape[1],
            index,
            best_of=params.evaluate.best_passages,
        )

    dev = read_queries(Path("data/queries"), Path("data/qrels"), "dev")
    tunable = bool(dev) and split != "dev"  # a weight chosen on the questions it is measured on would flatter itself
    weight = best_weight(dense("dev"), lexical["dev"], dev, ids) if tunable else 0.5
    queries = read_queries(Path("data/queries"), Path("data/qrels"), split)
    found, depth = dense(split), max(cutoffs)
    fused = {
        "hybrid_ranks": fuse_ranks(found, lexical[split], ids, depth, params.hybrid.rank_constant),
        "hybrid_scores": fuse_scores(found, lexical[split], weight, ids, depth),
    }
    extras = {"hybrid_ranks": {}, "hybrid_scores": {"dense_weight": weight}}
    groups = read_slices(Path("data/slices.csv"))
    for name, rankings in fused.items():
        write_results(name, queries, rankings, ids, cutoffs, groups, extras[name])
    cli.say(
        f"hybrid: wrote metrics/hybrid_ranks.json and hybrid_scores.json ({params.hybrid.model} weighs {weight:g} "
        f"beside BM25{f', chosen on {len(dev)} dev queries' if tunable else ''})"
    )


if __name__ == "__main__":
    cli.run(main)
