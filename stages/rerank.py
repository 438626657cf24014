"""rerank: re-order a system's results with a cross-encoder, and measure them (`python -m stages.rerank reranked`)."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from embedtune.compute.device import encoding_dtype, pick_device
from embedtune.compute.memory import keep_freed_memory
from embedtune.config import paths
from embedtune.config.recipe import rerank_max_len
from embedtune.core import cli, json_files
from embedtune.data.corpus import Query
from embedtune.data.passages import open_passages
from embedtune.evaluation.evaluate import DEV, evaluate, figures, read_asked
from embedtune.evaluation.measures import per_query_scores
from embedtune.evaluation.per_query import read_slices
from embedtune.evaluation.teaching import NO_DEV, may_teach
from embedtune.models.cross_encoder import load_cross_encoder
from embedtune.retrieval.rankings import Rankings, read_rankings
from embedtune.retrieval.rerank import RerankedSearcher, by_score, judged_documents
from embedtune.retrieval.searcher import StoredSearcher
from embedtune.retrieval.system import describe_reranked
from embedtune.training.objectives.ranking import PROBABILITY
from stages.candidates import candidates_of, chooser_of, passage_reader
from stages.running import name_given, run, stage_params


def main() -> None:
    """Write data/runs/<reranker>, metrics/<reranker>.json, metrics/plots/<reranker> and whether it may teach."""
    params = stage_params()
    name = name_given(params.rerankers)
    entry, split = params.rerankers[name], params.evaluate.split
    queries, passages = read_asked(paths.QUERIES, paths.QRELS, split), open_passages(paths.PASSAGES)
    ids, device = passages.document_ids, pick_device(params.compute.device)
    keep_freed_memory(device)
    model = load_cross_encoder(paths.model(name), device, encoding_dtype(params.encode.precision, device))
    max_len = rerank_max_len(params, model.max_tokens)
    candidates = {part: read_rankings(paths.run(entry.candidates), part) for part in queries}
    searcher = RerankedSearcher(
        StoredSearcher(candidates, queries, ids),
        passage_reader(entry, passages, queries),
        model,
        entry.depth,
        max_len,
        params.rerank.batch_tokens,
    )

    def judged(asked: Sequence[Query]) -> Rankings:
        read = by_score(searcher.read(asked, judged_documents(asked, ids)), ids)
        return replace(read, scores=expit(read.scores)) if entry.objective == PROBABILITY else read

    description = describe_reranked(
        candidates_of(entry),
        chooser_of(entry),
        paths.model(name),
        depth=entry.depth,
        read_passages=entry.passages,
        max_len=max_len,
    )
    rankings, means = evaluate(
        name,
        searcher,
        queries,
        split,
        sorted(set(params.evaluate.cutoffs)),
        read_slices(paths.SLICES),
        depth=params.evaluate.depth,
        system=description,
        run=paths.run(name),
        plots=paths.plots(name),
        judged=judged,
    )
    json_files.write_json(paths.metrics(name), means)
    metric = params.train.metric_for_best_model
    cutoff = int(metric.partition("@")[2])

    def on_dev(ranked: Rankings) -> NDArray[np.float64]:
        return per_query_scores(queries[DEV], ranked, ids, [cutoff])[metric].to_numpy()

    teaching = may_teach(metric, on_dev(rankings[DEV]), on_dev(candidates[DEV])) if DEV in queries else NO_DEV
    json_files.write_json(paths.teaching(name), teaching)
    told = figures(means, len(queries[split]), split)
    cli.say(
        f"rerank: {name}: {told}; wrote {paths.metrics(name)} (the first {entry.depth} documents of "
        f"{entry.candidates} in a new order)"
    )
    cli.say(f"rerank: {teaching['why']}")


if __name__ == "__main__":
    run(main, "rerank", "rerankers", "evaluate", "encode", "compute")
