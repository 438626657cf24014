"""What the stages that mine share: rows of mined negatives, rows of scored pairs, and what chooses positives."""

import functools
from typing import Any

import numpy as np

from embedtune.config import paths
from embedtune.config.recipe import filled_mine
from embedtune.config.schema import NONE, Params
from embedtune.core import cli, files, json_files
from embedtune.data.corpus import Query
from embedtune.data.passages import Passages, read_texts
from embedtune.mining.background import background_scores
from embedtune.mining.judged_pairs import judged_pairs, pair_counts
from embedtune.mining.mine import MiningData, MiningSettings, mine, used_passages
from embedtune.mining.mined_rows import mined_rows, pair_rows, pair_sample_text, sample_text, sampled
from embedtune.mining.mining_counts import held_out_counts, mining_counts, score_gaps, shortages
from embedtune.mining.positives import PassageScorer, Rerank, passage_scorer
from embedtune.retrieval.dense import Vectors
from embedtune.retrieval.rankings import rankings_of
from embedtune.retrieval.searcher import Searcher
from stages.running import in_words


def mine_rows(
    params: Params,
    name: str,
    queries: list[Query],
    others: dict[str, list[Query]],
    query_vectors: Vectors,
    passage_vectors: Vectors,
    passages: Passages,
    searcher: Searcher,
    teacher: str = NONE,
) -> None:
    """Write the rows of the training `queries` with positives and negatives; `others` are dev's and test's.

    Hard negatives are among the results of `searcher`; vectors are those of the model that scores passages.
    """
    recipe = MiningSettings(**filled_mine(params).model_dump(exclude={"positive_passage"}))
    having = [number for number, query in enumerate(queries) if query.relevant()]
    without = len(queries) - len(having)
    if without:
        queries, query_vectors = [queries[number] for number in having], query_vectors[having]
        cli.say(f"mine: {without} questions have no relevant document and are left out")
    rankings = searcher.rank(queries, recipe.depth)
    background = background_scores(query_vectors, passage_vectors)
    pool = MiningData(queries, rankings, query_vectors, passage_vectors, passages, _numbers(passages), background)
    mined = list(mine(pool, scorer(params, pool, teacher, judged=False), recipe))
    numbers = used_passages(mined)
    texts = dict(zip(numbers.tolist(), read_texts(paths.CORPUS, passages, numbers), strict=True))
    counts = mining_counts(pool, mined, recipe) | held_out_counts(pool, mined, others)
    if without:
        counts["questions_without_relevant"] = without
    target = paths.mined(name)
    numbers_asked = having if without else None
    json_files.write_json_lines(target, mined_rows(pool, mined, texts, numbers_asked))
    write_texts(name, sample_text(mined_rows(pool, sampled(mined), texts)), score_gaps(mined))
    json_files.write_json(paths.mining_metrics(name), counts)
    for shortage in shortages(counts):
        cli.say(f"mine: WARNING: {in_words(shortage, 'mine')}")
    cli.say(f"mine: wrote {counts['questions']} questions with {counts['negatives']} negatives to {target}")


def write_pairs(
    params: Params,
    name: str,
    queries: list[Query],
    query_vectors: Vectors,
    passage_vectors: Vectors,
    passages: Passages,
    teacher: str = NONE,
) -> None:
    """Write a row for each judged document of the training `queries`."""
    background = background_scores(query_vectors, passage_vectors)
    rankings = rankings_of([], 0)  # nothing is drawn from them
    pool = MiningData(queries, rankings, query_vectors, passage_vectors, passages, _numbers(passages), background)
    pairs = list(judged_pairs(pool, scorer(params, pool, teacher, judged=True)))
    numbers = np.unique([pair.passage for pair in pairs])
    texts = dict(zip(numbers.tolist(), read_texts(paths.CORPUS, passages, numbers), strict=True))
    json_files.write_json_lines(paths.mined(name), pair_rows(pairs, texts))
    write_texts(name, pair_sample_text(pair_rows(sampled(pairs), texts)), score_gaps([]))
    counts = pair_counts(pairs)
    json_files.write_json(paths.mining_metrics(name), counts)
    cli.say(f"mine: wrote {counts['pairs']} pairs of {counts['questions']} questions to {paths.mined(name)}")


def write_texts(name: str, sample: str, plot: Any) -> None:
    """Write the readable sample and the plot, a table."""
    with files.atomic_file(paths.mined_sample(name)) as partial:
        partial.write_text(sample, encoding="utf-8")
    with files.atomic_file(paths.mining_plot(name)) as partial:
        plot.to_csv(partial, index=False)


def scorer(params: Params, pool: MiningData, teacher: str, judged: bool) -> PassageScorer:
    """What chooses the passage of a document, as mine.positive_passage says; `teacher` is a reranker's name or none."""
    how, rerank = params.mine.positive_passage, None
    if how == "teacher" and teacher == NONE:  # rows for a reranker: a round of params.yaml has one
        how = "bm25"
    elif how == "teacher":
        rerank = reranker(params, teacher)
    return passage_scorer(
        how,
        pool.queries,
        pool.query_vectors,
        pool.passage_vectors,
        pool.background,
        pool.passages,
        paths.CORPUS,
        rerank,
        params.lexical.tokenizer,
        judged,
    )


def _numbers(passages: Passages) -> dict[str, int]:
    """Document id -> document number."""
    return {document_id: number for number, document_id in enumerate(passages.document_ids)}


def reranker(params: Params, name: str) -> Rerank:
    """The scoring function of the reranker `name`.

    Only this needs torch, which takes seconds to import.
    """
    from embedtune.compute.device import half_on_gpu, pick_device
    from embedtune.config.recipe import rerank_max_len
    from embedtune.models.cross_encoder import load_cross_encoder

    device = pick_device(params.compute.device)
    model = load_cross_encoder(paths.model(name), device, half_on_gpu(device))
    max_len, batch_tokens = rerank_max_len(params, model.max_tokens), params.rerank.batch_tokens
    return functools.partial(model.scores_of_texts, max_len=max_len, batch_tokens=batch_tokens)
