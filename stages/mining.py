"""What the stages that mine share: rows of mined negatives, rows of scored pairs, and what chooses positives."""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embedtune.config import paths
from embedtune.config.recipe import filled_mine
from embedtune.config.schema import Params
from embedtune.config.systems import DATASET, NONE
from embedtune.core import cli, files, json_files
from embedtune.core.errors import ParameterError
from embedtune.data.corpus import Query
from embedtune.data.passages import Passages, read_texts
from embedtune.mining.background import background_scores
from embedtune.mining.judged_pairs import judged_pairs, pair_counts
from embedtune.mining.mine import MinedQuery, MiningData, MiningSettings, mine, used_passages
from embedtune.mining.mined_rows import mined_rows, pair_rows, pair_sample_text, sample_text, sampled
from embedtune.mining.mining_counts import held_out_counts, mining_counts, score_gaps, shortages
from embedtune.mining.positives import PassageScorer, Rerank, passage_scorer
from embedtune.mining.teacher import Pair, ScorePairs, mine_with_teacher
from embedtune.retrieval.dense import Vectors
from embedtune.retrieval.rankings import Rankings, rankings_of
from stages.running import in_words

TEACHER = "teacher"  # of mine.positive_passage


def mine_rows(
    params: Params,
    name: str,
    queries: list[Query],
    others: dict[str, list[Query]],
    query_vectors: Vectors,
    passage_vectors: Vectors,
    passages: Passages,
    rank: Callable[[list[Query], int], Rankings],
    teacher: str = NONE,
) -> None:
    """Write the rows of the training `queries` with positives and negatives; `others` are dev's and test's.

    Hard negatives are among what `rank` gives for queries and a depth; vectors are those of the model that scores
    passages.
    """
    recipe = MiningSettings(**filled_mine(params).model_dump(exclude={"positive_passage", "teacher_margin"}))
    having = [number for number, query in enumerate(queries) if query.relevant()]
    without = len(queries) - len(having)
    if without:
        queries, query_vectors = [queries[number] for number in having], query_vectors[having]
        cli.say(f"mine: {without} questions have no relevant document and are left out")
    rankings = rank(queries, recipe.depth)
    background = background_scores(query_vectors, passage_vectors)
    pool = MiningData(queries, rankings, query_vectors, passage_vectors, passages, _numbers(passages), background)
    mined, taught = drawn(params, pool, recipe, teacher)
    numbers = used_passages(mined)
    texts = dict(zip(numbers.tolist(), read_texts(paths.CORPUS, passages, numbers), strict=True))
    counts = mining_counts(pool, mined, recipe) | held_out_counts(pool, mined, others)
    refused = len(queries) - len(mined)
    if without:
        counts["questions_without_relevant"] = without
    if refused:
        counts["questions_left_out_by_teacher"] = refused
    target = paths.mined(name)
    numbers_asked = having if without or refused else None
    json_files.write_json_lines(target, mined_rows(pool, mined, texts, numbers_asked, taught))
    write_texts(name, sample_text(mined_rows(pool, sampled(mined), texts)), score_gaps(mined))
    json_files.write_json(paths.mining_metrics(name), counts)
    for shortage in shortages(counts):
        cli.say(f"mine: WARNING: {in_words(shortage, 'mine')}")
    cli.say(f"mine: wrote {counts['questions']} questions with {counts['negatives']} negatives to {target}")


def drawn(
    params: Params, pool: MiningData, recipe: MiningSettings, teacher: str
) -> tuple[list[MinedQuery], dict[Pair, float] | None]:
    """What is mined, and the scores of a reranker that teaches: none of one that does not, None without a reranker."""
    if teacher in (NONE, DATASET):
        return list(mine(pool, scorer(params, pool), recipe)), None
    if not teaches(teacher):
        return list(mine(pool, scorer(params, pool), recipe)), {}
    margin = None if params.mine.teacher_margin == NONE else float(params.mine.teacher_margin)
    model, options = cross_encoder(params, teacher)
    positives = scorer(params, pool, functools.partial(model.scores_of_texts, **options))
    found = mine_with_teacher(pool, positives, recipe, pair_scores(model, pool, options), margin)
    mined = [row for row in found.mined if row.negatives and row.query not in found.given_up]
    if not mined:
        raise ParameterError(
            "teacher_margin", f"{teacher} finds every negative as good as the positive; lower it, or write none"
        )
    if len(mined) < len(found.mined):
        cli.say(
            f"mine: WARNING: {len(found.mined) - len(mined)} of {len(found.mined)} questions are left out, since "
            f"{teacher} finds every negative as good as the positive"
        )
    return mined, found.scores


def teaches(teacher: str) -> bool:
    """Whether the reranker is good enough on dev; it is said."""
    found = json_files.read_json(paths.teaching(teacher))
    if not found["better"]:
        cli.say(f"mine: WARNING: {teacher} does not teach, and refuses no negatives: {found['why']}")
        return False
    cli.say(f"mine: {teacher} teaches: {found['why']}")
    return True


def write_pairs(
    params: Params,
    name: str,
    queries: list[Query],
    query_vectors: Vectors,
    passage_vectors: Vectors,
    passages: Passages,
) -> None:
    """Write a row for each judged document of the training `queries`."""
    background = background_scores(query_vectors, passage_vectors)
    rankings = rankings_of([], 0)  # nothing is drawn from them
    pool = MiningData(queries, rankings, query_vectors, passage_vectors, passages, _numbers(passages), background)
    pairs = list(judged_pairs(pool, scorer(params, pool, judged=True)))
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


def scorer(params: Params, pool: MiningData, rerank: Rerank | None = None, judged: bool = False) -> PassageScorer:
    """What chooses the passage of a document, as mine.positive_passage says; `rerank` is how a teacher scores."""
    how = params.mine.positive_passage
    if how == TEACHER and rerank is None:
        how = "bm25"
        cli.say("mine: BM25 chooses the positives, since there is no teacher to do it")
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


def pair_scores(model: Any, pool: MiningData, options: dict[str, int]) -> ScorePairs:
    """The function that scores (number of a question, number of a passage) with a cross-encoder."""
    asked = model.tokenize([query.text for query in pool.queries])

    def score(pairs: Sequence[Pair]) -> NDArray[np.float32]:
        numbers = np.unique([passage for _, passage in pairs]).astype(np.int64)
        place = {int(number): place for place, number in enumerate(numbers)}
        texts = model.tokenize(read_texts(paths.CORPUS, pool.passages, numbers))
        numbered = [(query, place[passage]) for query, passage in pairs]
        found: NDArray[np.float32] = model.scores(numbered, asked, texts, **options, description="teach")
        return found

    return score


def cross_encoder(params: Params, name: str) -> tuple[Any, dict[str, int]]:
    """The cross-encoder of the reranker `name`, and how it scores: the lengths of pairs and of batches, in tokens.

    Only this needs torch, which takes seconds to import.
    """
    from embedtune.compute.device import encoding_dtype, pick_device
    from embedtune.config.recipe import rerank_max_len
    from embedtune.models.cross_encoder import load_cross_encoder

    device = pick_device(params.compute.device)
    model = load_cross_encoder(paths.model(name), device, encoding_dtype(params.encode.precision, device))
    max_len, batch_tokens = rerank_max_len(params, model.max_tokens), params.rerank.batch_tokens
    return model, {"max_len": max_len, "batch_tokens": batch_tokens}
