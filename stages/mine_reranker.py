"""mine_reranker: rows for a reranker, out of its candidates' results (`python -m stages.mine_reranker reranked`).

The training questions are asked of the system whose results the reranker re-orders. A question's own positives are left
out, and its negatives are drawn as a round's are.
"""

from pathlib import Path

from embedtune.config import paths
from embedtune.config.schema import Params
from embedtune.config.systems import NONE, Reranker
from embedtune.core import cli, json_files
from embedtune.data.corpus import SPLITS, Query, read_queries
from embedtune.data.passages import open_passages
from embedtune.mining.mining_counts import score_gaps
from embedtune.retrieval.rankings import Rankings
from embedtune.retrieval.rerank import with_passages
from embedtune.retrieval.searcher import vectors_by_id
from embedtune.retrieval.system import open_searcher
from stages.candidates import candidates_of, store_of
from stages.mining import mine_rows, write_pairs, write_texts
from stages.running import name_given, run, stage_params


def main() -> None:
    """Write data/mined/<reranker>.jsonl, a readable sample of it, metrics/mining/<reranker>.json and a plot."""
    params = stage_params()
    name = name_given(params.rerankers)
    entry = params.rerankers[name]
    if entry.objective == NONE:
        nothing(name)
        return
    splits = {split: read_queries(paths.QUERIES, paths.QRELS, split) for split in SPLITS}
    mine_for(params, name, entry, splits.pop("train"), splits)


def nothing(name: str) -> None:
    """Write empty files for a ready model, which learns nothing."""
    json_files.write_json_lines(paths.mined(name), [])
    write_texts(name, f"# No rows: {name} has `objective: none`\n", score_gaps([]))
    json_files.write_json(paths.mining_metrics(name), {"questions": 0})
    cli.say(f"mine_reranker: {name} has `objective: none` and learns nothing")


def mine_for(params: Params, name: str, entry: Reranker, queries: list[Query], others: dict[str, list[Query]]) -> None:
    """Write the rows that the reranker learns; `others` are dev's and test's questions."""
    store, passages = store_of(entry), open_passages(paths.PASSAGES)
    query_vectors = store.queries("train")
    if entry.rows == "judged":
        write_pairs(params, name, queries, query_vectors, store.passages, passages)
        return
    vectors_of = vectors_by_id(queries, query_vectors)
    searcher = open_searcher(candidates_of(entry), Path(), vectors_of)

    def rank(asked: list[Query], depth: int) -> Rankings:  # a search by words names no passages
        return with_passages(searcher.rank(asked, depth), vectors_of(asked), store.passages, passages)

    mine_rows(params, name, queries, others, query_vectors, store.passages, passages, rank)


if __name__ == "__main__":
    run(main, "mine", "rerank", "lexical", "compute")
