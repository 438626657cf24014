"""What the stages that mine share: rows of mined negatives, rows of scored pairs, and what chooses positives."""

import functools
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embedtune.config import paths
from embedtune.config.recipe import filled_mine
from embedtune.config.schema import DATASET, NONE, Params
from embedtune.core import cli, files, json_files
from embedtune.core.errors import ParameterError
from embedtune.data.corpus import Query
from embedtune.data.passages import Passages, read_texts
from embedtune.mining.background import background_scores
from embedtune.mining.judged_pairs import judged_pairs, pair_counts
from embedtune.mining.mine import MiningData, MiningSettings, mine, used_passages
from embedtune.mining.mined_rows import mined_rows, pair_rows, pair_sample_text, sample_text, sampled
from embedtune.mining.mining_counts import held_out_counts, mining_counts, score_gaps, shortages
from embedtune.mining.positives import PassageScorer, Rerank, passage_scorer
from embedtune.mining.teacher import Pair, ScorePairs, mine_with_teacher
from embedtune.retrieval.dense import Vectors
from embedtune.retrieval.rankings import rankings_of
from embedtune.retrieval.searcher import Searcher
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
    searcher: Searcher,
    teacher: str = NONE,
) -> None:
    """Write the rows of the training `queries` with positives and negatives; `others` are dev's and test's.

    Hard negatives are among the results of `searcher`; vectors are those of the model that scores passages.
    """
    named = teacher
    recipe = MiningSettings(**filled_mine(params).model_dump(exclude={"positive_passage", "teacher_margin"}))
    having = [number for number, query in enumerate(queries) if query.relevant()]
    without = len(queries) - len(having)
    if without:
        queries, query_vectors = [queries[number] for number in having], query_vectors[having]
        cli.say(f"mine: {without} questions have no relevant document and are left out")
    rankings = searcher.rank(queries, recipe.depth)
    background = background_scores(query_vectors, passage_vectors)
    pool = MiningData(queries, rankings, query_vectors, passage_vectors, passages, _numbers(passages), background)
    if not teaches(teacher):
        teacher = NONE
    positives, taught, refused = scorer(params, pool, teacher, judged=False), {}, 0
    if teacher != NONE:
        margin = None if params.mine.teacher_margin == NONE else float(params.mine.teacher_margin)
        found = mine_with_teacher(pool, positives, recipe, teacher_scores(params, teacher, pool), margin)
        mined = [row for row in found.mined if row.negatives and row.query not in found.given_up]
        taught, refused = found.scores, len(found.mined) - len(mined)
        if not mined:
            raise ParameterError(
                "teacher_margin", f"{teacher} finds every negative as good as the positive; lower it, or write none"
            )
        if refused:
            cli.say(
                f"mine: WARNING: {refused} of {len(found.mined)} questions are left out, since {teacher} finds every "
                "negative as good as the positive"
            )
    else:
        mined = list(mine(pool, positives, recipe))
    numbers = used_passages(mined)
    texts = dict(zip(numbers.tolist(), read_texts(paths.CORPUS, passages, numbers), strict=True))
    counts = mining_counts(pool, mined, recipe) | held_out_counts(pool, mined, others)
    if without:
        counts["questions_without_relevant"] = without
    target = paths.mined(name)
    if refused:
        counts["questions_left_out_by_teacher"] = refused
    numbers_asked = having if without or refused else None
    withheld: dict[Pair, float] | None = (
        {} if named not in (NONE, DATASET) else None
    )  # a reranker that does not teach: nobody's scores
    json_files.write_json_lines(target, mined_rows(pool, mined, texts, numbers_asked, taught or withheld))
    write_texts(name, sample_text(mined_rows(pool, sampled(mined), texts)), score_gaps(mined))
    json_files.write_json(paths.mining_metrics(name), counts)
    for shortage in shortages(counts):
        cli.say(f"mine: WARNING: {in_words(shortage, 'mine')}")
    cli.say(f"mine: wrote {counts['questions']} questions with {counts['negatives']} negatives to {target}")


def teaches(teacher: str) -> bool:
    """Whether the teacher is a reranker that is good enough on dev; it is said."""
    if teacher in (NONE, DATASET):
        return False
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
    if how == TEACHER and teacher == NONE:
        how = "bm25"
        cli.say("mine: BM25 chooses the positives, since there is no teacher to do it")
    elif how == TEACHER:
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
    """The scoring function of the reranker `name`: a question and texts to logits."""
    model, max_len = cross_encoder(params, name)
    return functools.partial(model.scores_of_texts, max_len=max_len, batch_tokens=params.rerank.batch_tokens)


def teacher_scores(params: Params, name: str, pool: MiningData) -> ScorePairs:
    """The scoring function of the reranker `name`: numbers of questions and passages to logits."""
    model, max_len = cross_encoder(params, name)
    asked = model.tokenize([query.text for query in pool.queries])

    def score(pairs: Sequence[Pair]) -> NDArray[np.float32]:
        numbers = np.unique([passage for _, passage in pairs]).astype(np.int64)
        place = {int(number): place for place, number in enumerate(numbers)}
        texts = model.tokenize(read_texts(paths.CORPUS, pool.passages, numbers))
        numbered = [(query, place[passage]) for query, passage in pairs]
        options = {"max_len": max_len, "batch_tokens": params.rerank.batch_tokens}
        found: NDArray[np.float32] = model.scores(numbered, asked, texts, **options, description="teach")
        return found

    return score


def cross_encoder(params: Params, name: str) -> tuple[Any, int]:
    """The cross-encoder of the reranker `name`, and the tokens to which it cuts pairs.

    Only this needs torch, which takes seconds to import.
    """
    from embedtune.compute.device import encoding_dtype, pick_device
    from embedtune.config.recipe import rerank_max_len
    from embedtune.models.cross_encoder import load_cross_encoder

    device = pick_device(params.compute.device)
    model = load_cross_encoder(paths.model(name), device, encoding_dtype(params.encode.precision, device))
    return model, rerank_max_len(params, model.max_tokens)
