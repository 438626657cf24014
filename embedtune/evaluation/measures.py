"""Measures of a ranking, by ir_measures, and two output files: the TREC run and the curve by cutoff.

Every query of the split counts; one for which nothing is retrieved scores 0. Recall, NDCG (gain = relevance, discount
log2) and reciprocal rank are trec_eval's. Its judgments are whole numbers: where they are not (scored pairs, 0 to 1),
NDCG is scikit-learn's, which is the same function.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
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
    of_found = {f"recall@{k}": R @ k for k in cutoffs}
    of_grades = {f"ndcg@{k}": nDCG @ k for k in cutoffs}
    names = {measure: name for name, measure in (of_found | of_grades).items()} | {RR: "mrr"}
    judged = [(q.id, document, max(0.0, grade)) for q in queries for document, grade in q.judgments.items()]
    whole = all(grade == int(grade) for _, _, grade in judged)
    grades = [Qrel(query, document, int(grade)) for query, document, grade in judged] if whole else []
    found = [Qrel(q.id, document, 1) for q in queries for document in q.relevant()]
    if whole and not any(query.relevant_from for query in queries):  # what has a grade counts as found: one pass
        passes = [([*of_found.values(), *of_grades.values(), RR], grades)]
    else:
        passes = [([*of_found.values(), RR], found), ([*of_grades.values()], grades)]
    rankings = cut(rankings, max(cutoffs))
    run = [
        ScoredDoc(query.id, document_ids[document], float(score))
        for query, documents, scores in zip(queries, rankings.documents, rankings.scores, strict=True)
        for document, score in zip(documents, scores, strict=True)
        if document >= 0
    ]
    index = pd.Index([query.id for query in queries], name="query_id")
    table = pd.DataFrame(0.0, index=index, columns=[*of_found, *of_grades, "mrr"])
    for measures, qrels in passes:
        for metric in ir_measures.iter_calc(measures, qrels, run) if qrels else ():
            table.loc[metric.query_id, names[metric.measure]] = metric.value
    if not whole:
        for k in cutoffs:
            table[f"ndcg@{k}"] = graded_ndcg(queries, rankings, document_ids, k)
    # ir_measures takes RR@k from another tool, which breaks ties differently; so 1 / r is cut here: 0 where r > k
    for k in cutoffs:
        table[f"mrr@{k}"] = table["mrr"].where(table["mrr"] > 1 / (k + 0.5), 0.0)
    return table[[f"{name}@{k}" for k in cutoffs for name in FAMILIES]]


def graded_ndcg(queries: list[Query], rankings: Rankings, document_ids: list[str], cutoff: int) -> list[float]:
    """NDCG at `cutoff` of each query, its judgments being numbers of any kind; 0 where no document is relevant."""
    from sklearn.metrics import ndcg_score  # here, as above

    values = []
    for query, documents in zip(queries, rankings.documents, strict=True):
        left = {document: grade for document, grade in query.judgments.items() if grade > 0}
        gains = [left.pop(document_ids[document], 0.0) for document in documents[:cutoff] if document >= 0]
        gains += [0.0] * (cutoff + 1 - len(gains)) + [*left.values()]  # those not found, out of the cutoff's reach
        order = -np.arange(len(gains), dtype=np.float64)
        values.append(float(ndcg_score([gains], [order], k=cutoff, ignore_ties=True)))
    return values


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
