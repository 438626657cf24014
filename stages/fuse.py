"""fuse: fuse a model's rankings with BM25's and measure the fusion (`python -m stages.fuse hybrid_scores`)."""

from typing import Any

from embedtune.config import paths
from embedtune.config.systems import BM25
from embedtune.core import cli, json_files
from embedtune.data.corpus import Query
from embedtune.data.passages import open_passages
from embedtune.evaluation.evaluate import DEV, evaluate, figures, read_asked
from embedtune.evaluation.fusion_weight import best_weight
from embedtune.evaluation.per_query import read_slices
from embedtune.retrieval.rankings import read_rankings
from embedtune.retrieval.searcher import FusedSearcher, StoredSearcher
from embedtune.retrieval.system import SYSTEM, describe_fused, fuse_of
from stages.running import name_given, run, stage_params


def main() -> None:
    """Write data/runs/<fusion>, metrics/<fusion>.json and metrics/plots/<fusion>."""
    params = stage_params()
    name = name_given(params.fusions)
    fusion, depth, split = params.fusions[name], params.evaluate.depth, params.evaluate.split
    queries, ids = read_asked(paths.QUERIES, paths.QRELS, split), open_passages(paths.PASSAGES).document_ids
    dense, lexical = (stored(system, queries, ids) for system in (fusion.dense, BM25))
    how: dict[str, Any] = {"by": fusion.by}
    if fusion.by == "ranks":
        how["rank_constant"] = params.fuse.rank_constant
    elif DEV in queries and split != DEV:  # a weight must not be chosen on the questions it is evaluated on
        how["weight"] = best_weight(dense.rankings[DEV], lexical.rankings[DEV], queries[DEV], ids)
    else:
        how["weight"] = 0.5
    first, second = (json_files.read_json(paths.run(system) / SYSTEM) for system in (fusion.dense, BM25))
    description = describe_fused(first, second, depth, **how)
    _, means = evaluate(
        name,
        FusedSearcher(dense, lexical, fuse_of(description), depth),
        queries,
        split,
        sorted(set(params.evaluate.cutoffs)),
        read_slices(paths.SLICES),
        depth=depth,
        system=description,
        run=paths.run(name),
        plots=paths.plots(name),
    )
    if "weight" in how:
        means["dense_weight"] = how["weight"]
    json_files.write_json(paths.metrics(name), means)
    told = f"by scores, of which {fusion.dense}'s weigh {how['weight']:g}" if "weight" in how else "by ranks"
    measured = figures(means, len(queries[split]), split)
    cli.say(f"fuse: {name}: {measured}; wrote {paths.metrics(name)} ({fusion.dense} and BM25, {told})")


def stored(system: str, queries: dict[str, list[Query]], ids: list[str]) -> StoredSearcher:
    """The rankings of a system that was measured before."""
    return StoredSearcher({split: read_rankings(paths.run(system), split) for split in queries}, queries, ids)


if __name__ == "__main__":
    run(main, "fuse", "evaluate")
