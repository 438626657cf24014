"""mine: choose each training question's positives and sample its negatives (`python -m stages.mine finetuned`).

For an objective on scored pairs it chooses a passage of each judged document, and draws nothing.
"""

from embedtune.config import paths
from embedtune.config.schema import CONTRASTIVE
from embedtune.data.corpus import SPLITS, read_queries
from embedtune.data.passages import open_passages
from embedtune.models.vector_store import open_store
from embedtune.retrieval.searcher import DenseSearcher, vectors_by_id
from stages.mining import mine_rows, write_pairs
from stages.running import name_given, run, stage_params


def main() -> None:
    """Write data/mined/<round>.jsonl, a readable sample of it, metrics/mining/<round>.json and a plot."""
    params = stage_params()
    name = name_given(params.rounds)
    store, passages = open_store(paths.embeddings(params.rounds[name].start)), open_passages(paths.PASSAGES)
    splits = {split: read_queries(paths.QUERIES, paths.QRELS, split) for split in SPLITS}
    queries = splits.pop("train")
    vectors = store.queries("train"), store.passages
    if params.train.objective == CONTRASTIVE:
        searcher = DenseSearcher(vectors_by_id(queries, vectors[0]), store.passages, passages)
        mine_rows(params, name, queries, splits, *vectors, passages, searcher.rank, params.rounds[name].teacher)
    else:
        write_pairs(params, name, queries, *vectors, passages)


if __name__ == "__main__":
    run(main, "mine", "train", "rerank", "encode", "lexical", "compute")
