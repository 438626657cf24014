"""Measures of a ranking, by ir_measures, and two output files: the TREC run and the curve by cutoff.

Every query of the split counts; one for which nothing is retrieved scores 0. Recall, NDCG (gain = relevance, discount
log2) and reciprocal rank are trec_eval's.
"""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from embedtune.core import files
from embedtune.core.errors import EmbedTuneError
from embedtune.data.corpus import Query
from embedtune.retrieval.rankings import Rankings, cut

FAMILIES = ("recall", "ndcg", "mrr")


def per_query_scores(
    queries: list[Query], rankings: Rankings, document_ids: list[str], cutoffs: list[int]
) -> pd.DataFrame:
    """One row per query (index query_id, in the order of `queries`), one column per measure, such as `recall@10`.

    The measures are recall, NDCG and MRR at each of `cutoffs`, 0 to 1. Raises EmbedTuneError if there are no queries.
    """
    import ir_measures  # here, since it takes a while to import, and most who import this module measure nothing
    from ir_measures import RR, Qrel, R, ScoredDoc, nDCG

    if not queries:
        raise EmbedTuneError("there is no question to measure; check `split`")
    measures = {f"{name}@{k}": family @ k for k in cutoffs for name, family in (("recall", R), ("ndcg", nDCG))}
    names = {measure: name for name, measure in measures.items()} | {RR: "mrr"}
    qrels = [Qrel(q.id, document, max(0, relevance)) for q in queries for document, relevance in q.judgments.items()]
    rankings = cut(rankings, max(cutoffs))
    run = [
        ScoredDoc(query.id, document_ids[document], float(score))
        for query, documents, scores in zip(queries, rankings.documents, rankings.scores, strict=True)
        for document, score in zip(documents, scores, strict=True)
        if document >= 0
    ]
    index = pd.Index([query.id for query in queries], name="query_id")
    table = pd.DataFrame(0.0, index=index, columns=[*measures, "mrr"])
    for metric in ir_measures.iter_calc([*measures.values(), RR], qrels, run):
        table.loc[metric.query_id, names[metric.measure]] = metric.value
    # ir_measures takes RR@k from another tool, which breaks ties differently; so 1 / r is cut here: 0 where r > k
    for k in cutoffs:
        table[f"mrr@{k}"] = table["mrr"].where(table["mrr"] > 1 / (k + 0.5), 0.0)
    return table[[f"{name}@{k}" for k in cutoffs for name in FAMILIES]]


def write_run(path: Path, queries: list[Query], rankings: Rankings, document_ids: list[str], name: str) -> None:
    """Write a TREC run, lines `query Q0 document rank score name`: ranks from 1, scores with all digits of float32."""
    with files.atomic_file(path) as partial, partial.open("w", encoding="utf-8") as file:
        for query, documents, scores in zip(queries, rankings.documents, rankings.scores, strict=True):
            for rank, (document, score) in enumerate(zip(documents, scores, strict=True), start=1):
                if document >= 0:
                    file.write(f"{query.id} Q0 {document_ids[document]} {rank} {score:.9g} {name}\n")


def write_curve(path: Path, means: dict[str, float], cutoffs: list[int]) -> None:
    """Write a CSV of mean measures by cutoff, for a plot: columns cutoff, recall, ndcg, mrr."""
    rows = [{"cutoff": k} | {name: round(means[f"{name}@{k}"], 6) for name in FAMILIES} for k in cutoffs]
    with files.atomic_file(path) as partial:
        pd.DataFrame(rows).to_csv(partial, index=False)
