"""mine: choose each training question's positives and sample its negatives (`python -m stages.mine finetuned`)."""

import functools

from embedtune.config import paths
from embedtune.config.reading import load_params
from embedtune.config.recipe import filled_mine
from embedtune.core import cli, files, json_files
from embedtune.data.corpus import SPLITS, read_queries
from embedtune.data.passages import open_passages, read_texts
from embedtune.mining.background import background_scores
from embedtune.mining.mine import MiningData, MiningSettings, mine, used_passages
from embedtune.mining.mined_rows import mined_rows, sample_text, sampled
from embedtune.mining.mining_counts import held_out_counts, mining_counts, score_gaps, shortages
from embedtune.mining.positives import Rerank, passage_scorer
from embedtune.models.vector_store import open_store
from embedtune.retrieval.dense import rank_documents
from embedtune.retrieval.rankings import without_ignored
from stages.running import in_words, name_given, run


def main() -> None:
    """Write data/mined/<round>.jsonl, a readable sample of it, metrics/mining/<round>.json and a plot of score gaps."""
    params = load_params()
    name = name_given(params.rounds)
    corpus, store = paths.CORPUS, open_store(paths.embeddings(params.rounds[name].start))
    recipe = MiningSettings(**filled_mine(params).model_dump(exclude={"positive_passage"}))
    passages = open_passages(paths.PASSAGES)
    splits = {split: read_queries(paths.QUERIES, paths.QRELS, split) for split in SPLITS}
    queries = splits.pop("train")
    query_vectors, passage_vectors = store.queries("train"), store.passages
    rankings = without_ignored(
        queries,
        passages.document_ids,
        recipe.depth,
        lambda depth: rank_documents(query_vectors, passage_vectors, passages.document, passages.document_ids, depth),
    )
    number_of = {document_id: number for number, document_id in enumerate(passages.document_ids)}
    background = background_scores(query_vectors, passage_vectors)
    pool = MiningData(queries, rankings, query_vectors, passage_vectors, passages, number_of, background)
    rerank = None
    if params.mine.positive_passage == "reranker":
        rerank = reranker(params.reranker.max_len, params.reranker.batch_size)
    score = passage_scorer(
        params.mine.positive_passage,
        queries,
        query_vectors,
        passage_vectors,
        background,
        passages,
        corpus,
        rerank,
        params.lexical.tokenizer,
    )
    mined = list(mine(pool, score, recipe))
    numbers = used_passages(mined)
    texts = dict(zip(numbers.tolist(), read_texts(corpus, passages, numbers), strict=True))
    counts = mining_counts(pool, mined, recipe) | held_out_counts(pool, mined, splits)
    target = paths.mined(name)
    json_files.write_json_lines(target, mined_rows(pool, mined, texts))
    with files.atomic_file(paths.mined_sample(name)) as partial:
        partial.write_text(sample_text(mined_rows(pool, sampled(mined), texts)), encoding="utf-8")
    with files.atomic_file(paths.mining_plot(name)) as partial:
        score_gaps(mined).to_csv(partial, index=False)
    json_files.write_json(paths.mining_metrics(name), counts)
    for shortage in shortages(counts):
        cli.say(f"mine: WARNING: {in_words(shortage, 'mine')}")
    cli.say(f"mine: wrote {counts['questions']} questions with {counts['negatives']} negatives to {target}")


def reranker(max_len: int, batch_size: int) -> Rerank:
    """The scoring function of the cross-encoder. Only this needs torch, which takes seconds to import."""
    from embedtune.compute.device import half_on_gpu, pick_device
    from embedtune.models.cross_encoder import CrossEncoder

    device = pick_device()
    cross_encoder = CrossEncoder(paths.RERANKER, device, half_on_gpu(device))
    return functools.partial(cross_encoder.scores, max_len=max_len, batch_size=batch_size)


if __name__ == "__main__":
    run(main, "mine", "reranker", "encode", "lexical")
