"""Mining against NumPy rankings, a textbook BM25 and recounts, on small random corpora with planted duplicates."""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from decimal import ROUND_HALF_UP, Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.stats
from numpy.typing import NDArray

from embedtune import files
from embedtune.corpus import Query
from embedtune.errors import EmbedTuneError
from embedtune.mine import Mined, Pool, Recipe, mine, mined_rows, mining_counts, used_passages
from embedtune.passages import open_passages, read_texts
from embedtune.positives import Choose, positive_chooser
from embedtune.search import rank_documents
from embedtune.segment import write_passages
from embedtune.tokenization import load_tokenizer

SENTENCE = 30  # characters, each a token of the sample model: exactly one passage
CHARACTERS = list("合同自双方签字之日起生效国家对耕地实行特殊保护严格控制转为非")
SEARCH = Recipe("search", negatives=10, hard_share=0.7, hard_ranks=(2, 20), random_ranks=None, seed=42)

Row = dict[str, Any]


@dataclass(frozen=True)
class World:
    """A corpus in files, its passages' vectors and questions; `sentences[d]` are document d's passages."""

    corpus: Path
    sentences: list[list[str]]
    pool: Pool

    @property
    def ids(self) -> list[str]:
        return self.pool.passages.document_ids


def make_world(
    root: Path, tokenizer_of: Path, sentences: list[list[str]], queries: list[Query], query_vectors: NDArray[np.float16]
) -> World:
    """Write the corpus; equal sentences get equal vectors, as from a model. The ranking is as deep as the corpus."""
    rng = np.random.default_rng(99)
    corpus = root / "corpus.jsonl"
    with corpus.open("w", encoding="utf-8") as file:
        for number, document in enumerate(sentences):
            row = {"_id": document_id(number), "text": "".join(document)}
            file.write(json.dumps(row, ensure_ascii=False) + "\n")
    write_passages(
        corpus,
        load_tokenizer(tokenizer_of),
        root,
        max_tokens=SENTENCE + 2,
        frame_tokens=2,
        overlap_tokens=0,
        max_passages=None,
    )
    passages = open_passages(root)
    vector_of: dict[str, NDArray[np.float16]] = {}
    flat = [sentence for document in sentences for sentence in document]
    for sentence in flat:
        vector_of.setdefault(sentence, unit(rng.standard_normal(16)))
    assert read_texts(corpus, passages, np.arange(len(passages))) == flat
    vectors = np.stack([vector_of[sentence] for sentence in flat])
    rankings = rank_documents(query_vectors, vectors, passages.document, passages.document_ids, len(sentences))
    number_of = {document: number for number, document in enumerate(passages.document_ids)}
    return World(corpus, sentences, Pool(queries, rankings, query_vectors, vectors, passages, number_of))


def document_id(number: int) -> str:
    return f"d{(number * 37) % 1009}"


def unit(vector: NDArray[np.float64]) -> NDArray[np.float16]:
    return (vector / np.linalg.norm(vector)).astype(np.float16)


def random_sentence(rng: np.random.Generator) -> str:
    return "".join(rng.choice(CHARACTERS, SENTENCE))


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory, sample_model: Path) -> World:
    """150 documents of 1 to 5 passages and 30 questions with 1 to 3 relevant documents each.

    Relevant documents have copies, whole and of single passages, under other ids; so have others.
    """
    rng = np.random.default_rng(1)
    sentences = [[random_sentence(rng) for _ in range(rng.integers(1, 6))] for _ in range(150)]
    queries, vectors = [], []
    for number in range(30):
        relevant = rng.choice(60, rng.integers(1, 4), replace=False)
        negative = 60 + rng.choice(60, 6, replace=False)
        whole, part = 60 + rng.choice(90, 2, replace=False)
        sentences[whole] = list(sentences[relevant[0]])
        sentences[part][0] = sentences[relevant[-1]][-1]
        again, first = 60 + rng.choice(90, 2, replace=False)
        sentences[again] = list(sentences[first])
        judgments = {document_id(d): 1 for d in relevant} | {document_id(d): 0 for d in negative}
        text = sentences[relevant[0]][-1][3:12] + random_sentence(rng)[:6] + sentences[relevant[0]][-1][5:9]
        queries.append(Query(f"q{number}", text, judgments))
        vectors.append(unit(rng.standard_normal(16)))
    return make_world(tmp_path_factory.mktemp("world"), sample_model, sentences, queries, np.stack(vectors))


def head(world: World) -> Choose:
    return positive_chooser("head", [], np.empty(0), np.empty(0), world.pool.passages, world.corpus)


def mine_all(world: World, recipe: Recipe) -> tuple[list[Mined], list[Row]]:
    """What the mine stage does: (mined, rows of the file)."""
    mined = list(mine(world.pool, head(world), recipe))
    numbers = used_passages(mined)
    texts = dict(zip(numbers.tolist(), read_texts(world.corpus, world.pool.passages, numbers), strict=True))
    return mined, list(mined_rows(world.pool, mined, texts))


def numpy_scores(world: World, query: int) -> NDArray[np.float64]:
    return world.pool.passage_vectors.astype(np.float64) @ world.pool.query_vectors[query].astype(np.float64)


def numpy_ranking(world: World, query: int) -> list[int]:
    """Documents by their best passage's score, ties by id, descending; positives included."""
    scores = numpy_scores(world, query).astype(np.float32)
    best = {d: scores[world.pool.passages.document == d].max() for d in range(len(world.sentences))}
    return sorted(sorted(best, key=lambda d: world.ids[d], reverse=True), key=lambda d: -best[d])


def best_sentence(world: World, query: int, document: int) -> int:
    """The number of the document's first passage with the highest score."""
    numbers = np.flatnonzero(world.pool.passages.document == document)
    return int(numbers[np.argmax(numpy_scores(world, query).astype(np.float32)[numbers])])


def numbers_of(world: World, ids: list[str]) -> list[int]:
    return [world.pool.number_of[document] for document in ids]


RECIPES = pytest.mark.parametrize(
    "recipe",
    [
        SEARCH,
        replace(SEARCH, random_ranks=(30, None)),
        replace(SEARCH, random_ranks=(30, 80)),
        replace(SEARCH, hard_share=1.0, negatives=4),
        replace(SEARCH, hard_share=0.0),
        replace(SEARCH, source="both"),
        replace(SEARCH, source="dataset", negatives=5),
        replace(SEARCH, negatives=200),
    ],
    ids=[
        "default",
        "random from 30",
        "random 30 to 80",
        "all hard",
        "all random",
        "both",
        "dataset",
        "more than there are",
    ],
)


@pytest.mark.parametrize("negatives", [1, 3, 5, 7, 10, 15])
@pytest.mark.parametrize("share", ["0", "0.15", "0.3", "0.35", "0.5", "0.7", "0.9", "1"])
def test_the_hard_share_is_rounded_half_up_and_the_rest_is_random(world: World, share: str, negatives: int) -> None:
    hard = int((Decimal(share) * negatives).quantize(Decimal(1), ROUND_HALF_UP))
    recipe = replace(SEARCH, negatives=negatives, hard_share=float(share), hard_ranks=(2, 60))
    mined, rows = mine_all(world, recipe)
    assert sum(row.filled for row in mined) == 0
    for row in rows:
        assert row["neg_kinds"] == ["hard"] * hard + ["random"] * (negatives - hard)


@pytest.mark.parametrize("negatives", [10, 50, 100, 150, 300])
def test_shares_that_binary_fractions_miss_are_rounded_half_up_too(negatives: int) -> None:
    """0.29 of 50 is 14.499999999999998 to a computer, and 15 all the same."""
    for per_mille in range(0, 1001, 5):
        exact = (Decimal(per_mille) * negatives / 1000).quantize(Decimal(1), ROUND_HALF_UP)
        assert replace(SEARCH, negatives=negatives, hard_share=per_mille / 1000).hard == exact


def test_seventy_per_cent_of_ten_are_seven_and_three(world: World) -> None:
    _, rows = mine_all(world, replace(SEARCH, hard_ranks=(2, 30)))
    assert [Counter(row["neg_kinds"]) for row in rows] == [{"hard": 7, "random": 3}] * 30


@pytest.mark.parametrize("window", [(1, 12), (2, 20), (40, 60), (150, 150)])
def test_hard_negatives_are_the_best_passages_of_documents_in_the_ranks(world: World, window: tuple[int, int]) -> None:
    _, rows = mine_all(world, replace(SEARCH, hard_ranks=window))
    found = 0
    for query, row in enumerate(rows):
        ranking = numpy_ranking(world, query)
        for passage, document, kind, rank in zip(
            row["neg_passages"], numbers_of(world, row["neg_ids"]), row["neg_kinds"], row["neg_ranks"], strict=True
        ):
            assert rank == ranking.index(document) + 1
            if kind == "hard":
                found += 1
                assert window[0] <= rank <= window[1]
                assert passage == best_sentence(world, query, document)
    assert found > 20


def test_random_negatives_beyond_a_rank_are_never_among_the_first(world: World) -> None:
    _, rows = mine_all(world, replace(SEARCH, random_ranks=(100, None)))
    ranks = [
        rank for row in rows for rank, kind in zip(row["neg_ranks"], row["neg_kinds"], strict=True) if kind == "random"
    ]
    assert len(ranks) >= 90
    assert min(ranks) >= 100
    assert min(ranks) < 105
    assert max(ranks) > 145


def test_random_negatives_of_a_window_of_ranks_stay_in_it(world: World) -> None:
    _, rows = mine_all(world, replace(SEARCH, random_ranks=(50, 60)))
    ranks = [
        rank for row in rows for rank, kind in zip(row["neg_ranks"], row["neg_kinds"], strict=True) if kind == "random"
    ]
    assert set(ranks) == set(range(50, 61))


@RECIPES
def test_a_negative_is_never_relevant_nor_any_text_of_a_relevant_document_nor_drawn_twice(
    world: World, recipe: Recipe
) -> None:
    _, rows = mine_all(world, recipe)
    for query, row in zip(world.pool.queries, rows, strict=True):
        relevant = set(query.relevant())
        forbidden = {text for d in numbers_of(world, query.relevant()) for text in world.sentences[d]}
        assert not relevant & set(row["neg_ids"])
        assert not forbidden & set(row["neg"])
        assert len(set(row["neg"])) == len(row["neg"])
        assert len(set(row["neg_ids"])) == len(row["neg_ids"])
        assert len(row["neg"]) <= recipe.negatives


def test_the_corpus_has_copies_that_had_to_be_refused(world: World) -> None:
    """Else the test above would show nothing."""
    mined, _ = mine_all(world, replace(SEARCH, negatives=200))
    refused = sum((row.refused for row in mined), Counter())
    assert refused["relevant_document"] > 30
    assert refused["text_of_relevant_document"] > 30
    assert refused["text_drawn_before"] > 30


@RECIPES
def test_rows_hold_the_texts_ids_and_scores_of_their_passages(world: World, recipe: Recipe) -> None:
    _, rows = mine_all(world, recipe)
    flat = [(number, text) for number, document in enumerate(world.sentences) for text in document]
    for query, row in enumerate(rows):
        scores = numpy_scores(world, query)
        assert (row["query_id"], row["query"]) == (world.pool.queries[query].id, world.pool.queries[query].text)
        assert row["pos_ids"] == world.pool.queries[query].relevant()
        for side in ("pos", "neg"):
            numbers = row[f"{side}_passages"]
            assert row[side] == [flat[passage][1] for passage in numbers]
            assert row[f"{side}_ids"] == [world.ids[flat[passage][0]] for passage in numbers]
            assert row[f"{side}_base_scores"] == pytest.approx(scores[numbers], abs=1e-6)


def test_a_teachers_scores_stand_beside_the_passages_that_have_one(world: World) -> None:
    """One question with scores for its relevant documents and for the first of its negatives; the others without."""
    _, rows = mine_all(world, SEARCH)
    taught = 3
    documents = [*rows[taught]["pos_ids"], rows[taught]["neg_ids"][0]]
    scores = {document: float(i) for i, document in enumerate(documents)}
    queries = [replace(q, scores=scores) if i == taught else q for i, q in enumerate(world.pool.queries)]
    _, scored = mine_all(replace(world, pool=replace(world.pool, queries=queries)), SEARCH)
    assert [row for i, row in enumerate(scored) if i != taught] == [row for i, row in enumerate(rows) if i != taught]
    row = scored[taught]
    assert row["pos_scores"] == [float(i) for i in range(len(row["pos_ids"]))]
    assert row["neg_scores"] == [float(len(row["pos_ids"])), *[None] * (len(row["neg_ids"]) - 1)]
    assert {key: row[key] for key in rows[taught]} == rows[taught]


@RECIPES
def test_the_same_questions_give_the_same_bytes_alone_in_halves_or_reversed(
    tmp_path: Path, world: World, recipe: Recipe
) -> None:
    def bytes_of(order: list[int]) -> dict[str, bytes]:
        pool = world.pool
        vectors = pool.query_vectors[order]
        passages = pool.passages
        rankings = rank_documents(vectors, pool.passage_vectors, passages.document, world.ids, recipe.depth)
        part = replace(pool, queries=[pool.queries[i] for i in order], query_vectors=vectors, rankings=rankings)
        _, rows = mine_all(replace(world, pool=part), recipe)
        files.write_json_lines(tmp_path / "train.jsonl", rows)
        lines = (tmp_path / "train.jsonl").read_bytes().splitlines()
        return {json.loads(line)["query_id"]: line for line in lines}

    together = bytes_of(list(range(30)))
    assert len(together) == 30
    assert bytes_of(list(range(30))[::-1]) == together
    assert bytes_of(list(range(0, 30, 2))) | bytes_of(list(range(1, 30, 2))) == together
    assert bytes_of([17]) == {"q17": together["q17"]}


def test_another_seed_draws_otherwise(world: World) -> None:
    _, rows = mine_all(world, SEARCH)
    _, others = mine_all(world, replace(SEARCH, seed=43))
    assert sum(row["neg_ids"] == other["neg_ids"] for row, other in zip(rows, others, strict=True)) == 0


@RECIPES
def test_counts_equal_a_recount_of_the_rows(world: World, recipe: Recipe) -> None:
    mined, rows = mine_all(world, recipe)
    counts = mining_counts(world.pool, mined, recipe)
    kinds = Counter(kind for row in rows for kind in row["neg_kinds"])
    wanted = 0 if recipe.source == "dataset" else recipe.hard
    expected = {
        "questions": len(rows),
        "positives": sum(len(row["pos"]) for row in rows),
        "negatives": sum(len(row["neg"]) for row in rows),
        "negatives_hard": kinds["hard"],
        "negatives_dataset": kinds["dataset"],
        "negatives_random": kinds["random"],
        "hard_share": (kinds["hard"] + kinds["dataset"]) / kinds.total(),
        "hard_filled_with_random": sum(
            max(0, wanted - sum(kind != "random" for kind in row["neg_kinds"])) for row in rows
        ),
        "questions_with_fewer_negatives": sum(len(row["neg"]) < recipe.negatives for row in rows),
    }
    assert {key: counts[key] for key in expected} == pytest.approx(expected)
    assert "positive_right_share" not in counts
    assert all(isinstance(value, (int, float)) and math.isfinite(value) for value in counts.values())


def test_a_shortage_of_hard_candidates_is_filled_at_random_and_counted(world: World) -> None:
    """Ranks 1 to 6 for 7 hard negatives: what they lack, and what is refused among them, comes at random."""
    recipe = replace(SEARCH, hard_ranks=(1, 6))
    mined, rows = mine_all(world, recipe)
    for query, row in enumerate(rows):
        forbidden = {t for d in numbers_of(world, row["pos_ids"]) for t in world.sentences[d]}
        first = numpy_ranking(world, query)[:6]
        flat = [text for document in world.sentences for text in document]
        texts = {flat[best_sentence(world, query, d)] for d in first if world.ids[d] not in row["pos_ids"]}
        hard = len(texts - forbidden)
        assert Counter(row["neg_kinds"]) == Counter({"hard": hard, "random": 10 - hard})
        assert mined[query].filled == 7 - hard > 0
    assert mining_counts(world.pool, mined, recipe)["hard_filled_with_random"] == sum(row.filled for row in mined)


def test_a_question_takes_what_there_is_where_the_corpus_is_too_small(world: World) -> None:
    """Every document that is not relevant is tried: as many negatives as the draws of passages leave texts."""
    mined, rows = mine_all(world, replace(SEARCH, negatives=200))
    for row, result in zip(rows, mined, strict=True):
        assert (
            len(row["neg"]) + result.refused["text_of_relevant_document"] + result.refused["text_drawn_before"] >= 147
        )
        assert len(row["neg"]) <= 149


@pytest.fixture(scope="module")
def single(tmp_path_factory: pytest.TempPathFactory, sample_model: Path) -> World:
    """Forty documents of one passage; a text of every relevant document stands in two more, one text in three."""
    rng = np.random.default_rng(4)
    sentences = [[random_sentence(rng)] for _ in range(40)]
    sentences[20], sentences[21] = sentences[0], sentences[0]
    sentences[30], sentences[31] = sentences[32], sentences[32]
    queries = [Query(f"q{i}", "", {document_id(0): 1, document_id(1): 1}) for i in range(12)]
    vectors = np.stack([unit(rng.standard_normal(16)) for _ in range(12)])
    return make_world(tmp_path_factory.mktemp("single"), sample_model, sentences, queries, vectors)


def test_refusals_are_counted_by_their_reason(single: World) -> None:
    """All forty ranks are hard candidates for more negatives than there are, so that each is met once.

    The random candidates that follow are one document, of a rank where nothing is left to refuse or take.
    """
    for query in range(12):
        pool = replace(
            single.pool,
            queries=single.pool.queries[query : query + 1],
            query_vectors=single.pool.query_vectors[query : query + 1],
            rankings=rank_documents(
                single.pool.query_vectors[query : query + 1],
                single.pool.passage_vectors,
                single.pool.passages.document,
                single.ids,
                40,
            ),
        )
        ranking = numpy_ranking(single, query)
        spare = next(rank for rank, d in enumerate(ranking, start=1) if d not in (0, 1, 20, 21, 30, 31, 32))
        recipe = replace(SEARCH, negatives=50, hard_share=1.0, hard_ranks=(1, 40), random_ranks=(spare, spare))
        mined = list(mine(pool, head(single), recipe))
        counts = mining_counts(pool, mined, recipe)
        assert counts["refused_relevant_document"] == 2
        assert counts["refused_text_of_relevant_document"] == 2
        assert counts["refused_text_drawn_before"] == 2
        assert counts["negatives_hard"] == counts["negatives"] == 34
        assert counts["hard_filled_with_random"] == 50 - 34
        assert counts["questions_with_fewer_negatives"] == 1


def many_questions(world: World, count: int) -> World:
    """The first question of the world, `count` times over under other ids."""
    queries = [replace(world.pool.queries[0], id=f"copy{i}") for i in range(count)]
    vectors = np.repeat(world.pool.query_vectors[:1], count, axis=0)
    rankings = replace(
        world.pool.rankings,
        documents=np.repeat(world.pool.rankings.documents[:1], count, axis=0),
        passages=np.repeat(world.pool.rankings.passages[:1], count, axis=0),
        scores=np.repeat(world.pool.rankings.scores[:1], count, axis=0),
    )
    return replace(world, pool=replace(world.pool, queries=queries, query_vectors=vectors, rankings=rankings))


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory, sample_model: Path) -> World:
    """Forty documents of 1 to 3 passages, no text twice; document 5 is relevant."""
    rng = np.random.default_rng(8)
    sentences = [[random_sentence(rng) for _ in range(1 + number % 3)] for number in range(40)]
    queries = [Query("q", "", {document_id(5): 1})]
    vectors = unit(rng.standard_normal(16))[None]
    return make_world(tmp_path_factory.mktemp("plain"), sample_model, sentences, queries, vectors)


def uniform(drawn: Counter[Any], over: list[Any]) -> float:
    """The chi-square test's p-value for a uniform distribution; 0 where anything else was drawn."""
    if set(drawn) - set(over):
        return 0.0
    return float(scipy.stats.chisquare([drawn[value] for value in over]).pvalue)


@pytest.mark.parametrize("negatives", [1, 5, 25])
@pytest.mark.parametrize("first", [1, 4, 15])
def test_random_negatives_are_uniform_over_what_is_left(plain: World, first: int, negatives: int) -> None:
    """Documents outside the first ranks, and the relevant one: none more often than another, nor any passage of one."""
    ranking = numpy_ranking(plain, 0)
    eligible = [d for d in ranking[first - 1 :] if d != 5]
    if negatives >= len(eligible):
        pytest.fail("the draw would have no choice")
    recipe = replace(SEARCH, negatives=negatives, hard_share=0.0, random_ranks=(first, None) if first > 1 else None)
    many = many_questions(plain, 3000 // negatives + 200)
    mined = list(mine(many.pool, head(many), recipe))
    passages = [negative.passage for row in mined for negative in row.negatives]
    document = plain.pool.passages.document
    assert len(passages) == negatives * len(mined)
    assert uniform(Counter(int(document[p]) for p in passages), eligible) > 1e-3
    firsts = Counter(int(document[row.negatives[0].passage]) for row in mined)
    assert uniform(firsts, eligible) > 1e-3
    triples = Counter(p - int(plain.pool.passages.first_passage[document[p]]) for p in passages if document[p] % 3 == 2)
    assert uniform(triples, [0, 1, 2]) > 1e-3


def test_hard_negatives_are_uniform_over_their_ranks(plain: World) -> None:
    ranking = numpy_ranking(plain, 0)
    window = [rank for rank in range(2, 13) if ranking[rank - 1] != 5]
    recipe = replace(SEARCH, negatives=3, hard_share=1.0, hard_ranks=(2, 12))
    mined = list(mine(many_questions(plain, 1500).pool, head(plain), recipe))
    assert uniform(Counter(n.rank for row in mined for n in row.negatives), window) > 1e-3


def test_source_dataset_takes_the_negatives_that_the_data_set_brings(world: World) -> None:
    """Each with its best passage; all of them where more are wanted."""
    flat = [text for document in world.sentences for text in document]
    for negatives in (3, 50):
        recipe = replace(SEARCH, source="dataset", negatives=negatives)
        mined, rows = mine_all(world, recipe)
        refused = sum((row.refused for row in mined), Counter())
        expected_refused: Counter[str] = Counter()
        for query, row in enumerate(rows):
            own = numbers_of(world, world.pool.queries[query].negatives())
            assert set(row["neg_kinds"]) == {"dataset"}
            assert set(numbers_of(world, row["neg_ids"])) <= set(own)
            best = [best_sentence(world, query, d) for d in own]
            assert set(row["neg_passages"]) <= set(best)
            forbidden = {text for d in numbers_of(world, row["pos_ids"]) for text in world.sentences[d]}
            allowed = [flat[passage] for passage in best if flat[passage] not in forbidden]
            assert len(row["neg"]) == min(negatives, len(set(allowed)))
            expected_refused["text_of_relevant_document"] += len(best) - len(allowed)
            expected_refused["text_drawn_before"] += len(allowed) - len(set(allowed))
        if negatives == 50:
            assert refused == +expected_refused
            assert expected_refused["text_of_relevant_document"] > 0
        assert sum(row.filled for row in mined) == 0


def test_source_dataset_draws_any_of_its_negatives_where_it_has_more_than_are_wanted(plain: World) -> None:
    own = [3, 9, 14, 22, 30, 31]
    judgments = {document_id(5): 1} | {document_id(d): 0 for d in own}
    judged = replace(plain, pool=replace(plain.pool, queries=[Query("q", "", judgments)]))
    recipe = replace(SEARCH, source="dataset", negatives=2)
    mined = list(mine(many_questions(judged, 900).pool, head(plain), recipe))
    document = plain.pool.passages.document
    assert uniform(Counter(int(document[n.passage]) for row in mined for n in row.negatives), own) > 1e-3
    assert uniform(Counter(int(document[row.negatives[0].passage]) for row in mined), own) > 1e-3


def test_source_dataset_names_a_question_without_negatives(world: World) -> None:
    queries = [replace(query, judgments=dict.fromkeys(query.relevant(), 1)) for query in world.pool.queries]
    queries[:3] = world.pool.queries[:3]
    pool = replace(world.pool, queries=queries)
    with pytest.raises(EmbedTuneError, match=r"mine\.source: dataset: question 'q3' brings no negatives"):
        list(mine(pool, head(world), replace(SEARCH, source="dataset")))


def test_source_both_draws_the_hard_ones_from_the_ranks_and_the_data_sets_own_together(world: World) -> None:
    recipe = replace(SEARCH, source="both", hard_ranks=(2, 20))
    _, rows = mine_all(world, recipe)
    kinds = Counter(kind for row in rows for kind in row["neg_kinds"])
    assert 0.1 < kinds["dataset"] / (kinds["dataset"] + kinds["hard"]) < 0.4, "about six of twenty-five candidates"
    for query, row in enumerate(rows):
        own = set(numbers_of(world, world.pool.queries[query].negatives()))
        window = set(numpy_ranking(world, query)[1:20])
        assert [kind == "random" for kind in row["neg_kinds"]] == [False] * 7 + [True] * 3
        for document, passage, kind in zip(
            numbers_of(world, row["neg_ids"]), row["neg_passages"], row["neg_kinds"], strict=True
        ):
            if kind != "random":
                assert (document in own) == (kind == "dataset")
                assert document in own | window
                assert passage == best_sentence(world, query, document)


def test_source_search_takes_no_notice_of_the_data_sets_own(world: World) -> None:
    stripped = [replace(query, judgments=dict.fromkeys(query.relevant(), 1)) for query in world.pool.queries]
    _, rows = mine_all(world, SEARCH)
    _, others = mine_all(replace(world, pool=replace(world.pool, queries=stripped)), SEARCH)
    assert rows == others


@pytest.mark.parametrize("random_ranks", [None, (12, None), (40, None), (4, 15), (30, 45)])
@pytest.mark.parametrize("source", ["search", "dataset", "both"])
def test_a_search_no_deeper_than_the_recipe_asks_for_gives_the_same_negatives(
    world: World, source: str, random_ranks: tuple[int, int | None] | None
) -> None:
    recipe = replace(SEARCH, source=source, hard_ranks=(3, 20), random_ranks=random_ranks)
    pool = world.pool
    rankings = rank_documents(pool.query_vectors, pool.passage_vectors, pool.passages.document, world.ids, recipe.depth)
    assert rankings.documents.shape[1] <= 45
    _, whole = mine_all(world, recipe)
    _, shallow = mine_all(replace(world, pool=replace(pool, rankings=rankings)), recipe)
    assert [row["neg_passages"] for row in shallow] == [row["neg_passages"] for row in whole]


def test_the_head_is_the_first_passage(world: World) -> None:
    choose = head(world)
    for document in range(150):
        assert choose(0, document) == int(np.flatnonzero(world.pool.passages.document == document)[0])


def test_the_best_passage_is_the_base_models_with_ties_to_the_earlier(tmp_path: Path, sample_model: Path) -> None:
    rng = np.random.default_rng(6)
    sentences = [[random_sentence(rng) for _ in range(6)] for _ in range(25)]
    for document in sentences:
        document[4], document[5] = document[1], document[2]  # equal texts, equal scores
    queries = [Query(f"q{i}", "", {document_id(i): 1}) for i in range(25)]
    vectors = np.stack([unit(rng.standard_normal(16)) for _ in range(25)])
    world = make_world(tmp_path, sample_model, sentences, queries, vectors)
    pool = world.pool
    choose = positive_chooser("best", queries, vectors, pool.passage_vectors, pool.passages, world.corpus)
    chosen = [choose(query, document) for query in range(25) for document in range(25)]
    assert chosen == [best_sentence(world, query, document) for query in range(25) for document in range(25)]
    assert Counter(number % 6 for number in chosen).keys() == {0, 1, 2, 3}


def textbook_bm25(query: list[str], texts: list[list[str]], k1: float = 1.5, b: float = 0.75) -> NDArray[np.float64]:
    """Lucene's BM25: idf = ln(1 + (N - df + 1/2) / (df + 1/2)), tf / (tf + k1 (1 - b + b length / mean length))."""
    counts = [Counter(text) for text in texts]
    mean = np.mean([len(text) for text in texts])
    scores = np.zeros(len(texts))
    for term in query:
        having = sum(term in count for count in counts)
        idf = math.log(1 + (len(texts) - having + 0.5) / (having + 0.5))
        for i, count in enumerate(counts):
            scores[i] += idf * count[term] / (count[term] + k1 * (1 - b + b * len(texts[i]) / mean))
    return scores


def own_terms(text: str) -> list[str]:
    """Bigrams of Han characters, words of letters and digits."""
    terms = []
    for run in re.findall(r"[\u4e00-\u9fff]+|[a-z0-9]+", text.lower()):
        single = len(run) == 1 or run.isascii()
        terms += [run] if single else [run[i : i + 2] for i in range(len(run) - 1)]
    return terms


def mixed_sentence(rng: np.random.Generator) -> str:
    """Thirty tokens: Han characters with letters, digits and commas, that the tokenizer takes one by one."""
    return "".join(rng.choice([*CHARACTERS[:12], "，", "。"], SENTENCE - 2)) + "".join(rng.choice([*"（）《》"], 2))


@pytest.mark.parametrize("make", [random_sentence, mixed_sentence])
def test_the_bm25_passage_is_a_textbook_bm25s(
    tmp_path: Path, sample_model: Path, make: Callable[[np.random.Generator], str]
) -> None:
    """Over the passages of the documents that are relevant to some question, ties to the earlier passage."""
    rng = np.random.default_rng(12)
    sentences = [[make(rng) for _ in range(rng.integers(1, 7))] for _ in range(60)]
    for document in sentences[:30:3]:
        document.append(document[0])
    queries = []
    for i in range(40):
        relevant = rng.choice(30, 2, replace=False)
        text = make(rng)[:12] + sentences[relevant[0]][-1][:4] * 2 + "Ａ unknown词 " + sentences[relevant[1]][0][5:8]
        queries.append(Query(f"q{i}", text, {document_id(d): 1 for d in relevant} | {document_id(50): 0}))
    vectors = np.stack([unit(rng.standard_normal(16)) for _ in range(40)])
    world = make_world(tmp_path, sample_model, sentences, queries, vectors)
    pool = world.pool
    relevant_documents = sorted({d for query in queries for d in numbers_of(world, query.relevant())})
    numbers = [int(p) for d in relevant_documents for p in pool.passages.of_document(d)]
    flat = [text for document in sentences for text in document]
    texts = [own_terms(flat[passage]) for passage in numbers]
    choose = positive_chooser("bm25", queries, vectors, pool.passage_vectors, pool.passages, world.corpus)
    places = set()
    for i, query in enumerate(queries):
        known = {term for text in texts for term in text}
        scores = textbook_bm25([term for term in own_terms(query.text) if term in known], texts)
        for document in numbers_of(world, query.relevant()):
            own = [j for j, passage in enumerate(numbers) if pool.passages.document[passage] == document]
            best = max(scores[j] for j in own)
            expected = next(j for j in own if scores[j] > best - 1e-5)
            assert choose(i, document) == numbers[expected]
            places.add(expected - own[0])
    assert len(places) > 3


def test_a_question_without_a_known_term_takes_the_first_passage(world: World) -> None:
    queries = [replace(query, text="zzz ？") for query in world.pool.queries]
    pool = world.pool
    choose = positive_chooser("bm25", queries, pool.query_vectors, pool.passage_vectors, pool.passages, world.corpus)
    document = numbers_of(world, queries[0].relevant())[0]
    assert choose(0, document) == pool.passages.first_passage[document]


@pytest.mark.parametrize(
    ("start", "end", "right"),
    [(30, 60, True), (40, 45, True), (45, 75, True), (46, 76, False), (0, 60, True), (0, 89, False), (60, 90, False)],
)
def test_a_positive_is_right_if_it_holds_half_of_the_answer(
    tmp_path: Path, sample_model: Path, start: int, end: int, right: bool
) -> None:
    """The positive is the second passage, characters 30 to 60; answers of another document do not count."""
    rng = np.random.default_rng(2)
    sentences = [[random_sentence(rng) for _ in range(3)] for _ in range(12)]
    answers = [{"docid": document_id(4), "start": start, "end": end}, {"docid": document_id(5), "start": 30, "end": 60}]
    queries = [Query("q", "", {document_id(4): 1}, answers)]
    world = make_world(tmp_path, sample_model, sentences, queries, unit(rng.standard_normal(16))[None])
    second = int(world.pool.passages.first_passage[4]) + 1
    mined = list(mine(world.pool, lambda query, document: second, SEARCH))
    assert mining_counts(world.pool, mined, SEARCH)["positive_right_share"] == right
