"""mine: choose each training question's positives and draw its negatives (`python -m stages.mine finetuned`)."""

import functools
import sys
from pathlib import Path

from embedtune import cli, embeddings, files
from embedtune.config import load_params
from embedtune.corpus import SPLITS, read_queries
from embedtune.mine import Pool, Recipe, mine
from embedtune.mined_rows import (
    held_out_counts,
    mined_rows,
    mining_counts,
    sample_text,
    sampled,
    score_gaps,
    used_passages,
)
from embedtune.passages import open_passages, read_texts
from embedtune.positives import Rerank, scorer
from embedtune.search import rank_documents


def main() -> None:
    """Write data/mined/<round>.jsonl with a sample of it, metrics/mining/<round>.json and its plot."""
    params = load_params()
    name = sys.argv[1]
    corpus, vectors = Path("data/corpus.jsonl"), Path("data/embeddings") / params.rounds[name]
    recipe = Recipe(**params.mine.model_dump(exclude={"positive_passage"}))
    passages = open_passages(Path("data/passages"))
    splits = {split: read_queries(Path("data/queries"), Path("data/qrels"), split) for split in SPLITS}
    queries = splits.pop("train")
    query_vectors = embeddings.open_vectors(vectors, embeddings.query_file("train"))
    passage_vectors = embeddings.open_vectors(vectors, embeddings.PASSAGES)
    rankings = rank_documents(query_vectors, passage_vectors, passages.document, passages.document_ids, recipe.depth)
    number_of = {document_id: number for number, document_id in enumerate(passages.document_ids)}
    pool = Pool(queries, rankings, query_vectors, passage_vectors, passages, number_of)
    rerank = None
    if params.mine.positive_passage == "reranker":
        rerank = reranker(params.reranker.max_len, params.reranker.batch_size)
    score = scorer(params.mine.positive_passage, queries, query_vectors, passage_vectors, passages, corpus, rerank)
    mined = list(mine(pool, score, recipe))
    numbers = used_passages(mined)
    texts = dict(zip(numbers.tolist(), read_texts(corpus, passages, numbers), strict=True))
    counts = mining_counts(pool, mined, recipe) | held_out_counts(pool, mined, splits)
    target = Path("data/mined") / f"{name}.jsonl"
    files.write_json_lines(target, mined_rows(pool, mined, texts))
    with files.whole_file(Path("data/mined") / f"{name}_sample.md") as partial:
        partial.write_text(sample_text(mined_rows(pool, sampled(mined), texts)), encoding="utf-8")
    with files.whole_file(Path("metrics/plots/mining") / f"{name}.csv") as partial:
        score_gaps(mined).to_csv(partial, index=False)
    files.write_json(Path("metrics/mining") / f"{name}.json", counts)
    cli.say(f"mine: wrote {counts['questions']} questions with {counts['negatives']} negatives to {target}")


def reranker(max_len: int, batch_size: int) -> Rerank:
    """The cross-encoder's scores of texts; imported here, since without it `mine` needs no torch, seconds to load."""
    from embedtune.cross_encoder import CrossEncoder
    from embedtune.device import encoding_dtype, pick_device

    device = pick_device()
    cross_encoder = CrossEncoder(Path("models/reranker"), device, encoding_dtype("auto", device))
    return functools.partial(cross_encoder.scores, max_len=max_len, batch_size=batch_size)


if __name__ == "__main__":
    cli.run(main)
