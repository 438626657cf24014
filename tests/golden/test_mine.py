"""Mining against NumPy rankings, a textbook BM25 and recounts, on small random corpora with planted duplicates."""

from __future__ import annotations

import json
import math
from collections import Counter
from dataclasses import replace
from decimal import ROUND_HALF_UP, Decimal
from pathlib import Path

import numpy as np
import pytest

from embedtune.core import json_files
from embedtune.data.corpus import Query
from embedtune.mining.mine import MiningSettings, mine
from embedtune.mining.mining_counts import mining_counts
from embedtune.retrieval.dense import rank_documents
from tests.golden.mining import (
    SEARCH,
    World,
    best_sentence,
    document_id,
    first,
    make_world,
    many_questions,
    mine_all,
    numbers_of,
    numpy_ranking,
    numpy_scores,
    random_sentence,
    uniform,
    unit,
)

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
    world: World, recipe: MiningSettings
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
def test_rows_hold_the_texts_ids_and_scores_of_their_passages(world: World, recipe: MiningSettings) -> None:
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
            assert row[f"{side}_mining_scores"] == pytest.approx(scores[numbers], abs=1e-6)


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
    tmp_path: Path, world: World, recipe: MiningSettings
) -> None:
    def bytes_of(order: list[int]) -> dict[str, bytes]:
        pool = world.pool
        vectors = pool.query_vectors[order]
        passages = pool.passages
        rankings = rank_documents(vectors, pool.passage_vectors, passages.document, world.ids, recipe.depth)
        part = replace(pool, queries=[pool.queries[i] for i in order], query_vectors=vectors, rankings=rankings)
        _, rows = mine_all(replace(world, pool=part), recipe)
        json_files.write_json_lines(tmp_path / "train.jsonl", rows)
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
def test_counts_equal_a_recount_of_the_rows(world: World, recipe: MiningSettings) -> None:
    mined, rows = mine_all(world, recipe)
    counts = mining_counts(world.pool, mined, recipe)
    kinds = Counter(kind for row in rows for kind in row["neg_kinds"])
    wanted = 0 if recipe.source == "dataset" else recipe.hard
    missing = [max(0, wanted - sum(kind != "random" for kind in row["neg_kinds"])) for row in rows]
    expected = {
        "questions": len(rows),
        "positives": sum(len(row["pos"]) for row in rows),
        "negatives": sum(len(row["neg"]) for row in rows),
        "negatives_hard": kinds["hard"],
        "negatives_dataset": kinds["dataset"],
        "negatives_random": kinds["random"],
        "hard_share": (kinds["hard"] + kinds["dataset"]) / kinds.total(),
        "hard_missing_share": sum(missing) / max(1, recipe.hard * len(rows)),
        "hard_filled_with_random": sum(
            max(0, row["neg_kinds"].count("random") - (recipe.negatives - recipe.hard)) for row in rows if wanted
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
        mined = list(mine(pool, first(single), recipe))
        counts = mining_counts(pool, mined, recipe)
        assert counts["refused_relevant_document"] == 2
        assert counts["refused_text_of_relevant_document"] == 2
        assert counts["refused_text_drawn_before"] == 2
        assert counts["negatives_hard"] == counts["negatives"] == 34
        assert counts["hard_missing_share"] == (50 - 34) / 50
        assert counts["hard_filled_with_random"] == 0, "no random one was found either"
        assert counts["questions_with_fewer_negatives"] == 1


@pytest.mark.parametrize("negatives", [1, 5, 25])
@pytest.mark.parametrize("rank", [1, 4, 15])
def test_random_negatives_are_uniform_over_what_is_left(plain: World, rank: int, negatives: int) -> None:
    """Documents outside the first ranks, and the relevant one: none more often than another, nor any passage of one."""
    ranking = numpy_ranking(plain, 0)
    eligible = [d for d in ranking[rank - 1 :] if d != 5]
    if negatives >= len(eligible):
        pytest.fail("the draw would have no choice")
    recipe = replace(SEARCH, negatives=negatives, hard_share=0.0, random_ranks=(rank, None) if rank > 1 else None)
    many = many_questions(plain, 3000 // negatives + 200)
    mined = list(mine(many.pool, first(many), recipe))
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
    mined = list(mine(many_questions(plain, 1500).pool, first(plain), recipe))
    assert uniform(Counter(n.rank for row in mined for n in row.negatives), window) > 1e-3


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
