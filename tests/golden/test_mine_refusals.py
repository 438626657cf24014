"""Candidates that are likely to be answers: near-duplicates of relevant documents, and those that score too high."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from embedtune.data.corpus import Query
from embedtune.mining.background import background_scores
from embedtune.mining.mine import MiningSettings, mine
from embedtune.mining.mining_counts import held_out_counts, mining_counts
from embedtune.mining.near_duplicates import overlap, shingles
from tests.golden.mining import (
    CHARACTERS,
    SEARCH,
    World,
    best_sentence,
    document_id,
    first,
    make_world,
    mine_all,
    numpy_ranking,
    numpy_scores,
    random_sentence,
    unit,
)

EVERYTHING = replace(SEARCH, negatives=300, hard_share=1.0, hard_ranks=(1, 300))


def plain_shingles(tokens: list[int]) -> set[tuple[int, ...]]:
    return {tuple(tokens[i : i + 3]) for i in range(max(1, len(tokens) - 2))}


@pytest.mark.parametrize("length", [0, 1, 2, 3, 30])
def test_the_overlap_is_that_of_plain_sets(length: int) -> None:
    rng = np.random.default_rng(length)
    for _ in range(50):
        whole = rng.integers(0, 12, 60)
        start = rng.integers(0, 30)
        candidate = whole[start : start + length].copy()
        candidate[rng.random(length) < 0.1] = 5
        expected = plain_shingles(candidate.tolist())
        other = plain_shingles(whole.tolist())
        held = len(expected & other) / min(len(expected), len(other))
        assert overlap(shingles(candidate), shingles(whole)) == pytest.approx(held)
        assert overlap(shingles(whole), shingles(candidate)) == pytest.approx(held)


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory, sample_model: Path) -> World:
    """Sixty documents of four passages; twenty near-copies of a passage of document 0: a tenth of it is changed, it is
    cut elsewhere, and other text stands around it."""
    rng = np.random.default_rng(3)
    sentences = [[random_sentence(rng) for _ in range(4)] for _ in range(60)]
    whole = "".join(sentences[0])
    for number in range(20, 40):
        start = int(rng.integers(0, 80))
        copied = list(whole[start : start + 30])
        for place in rng.choice(30, 2, replace=False):
            copied[place] = str(rng.choice(CHARACTERS))
        sentences[number][int(rng.integers(4))] = "".join(copied)
    queries = [Query(f"q{i}", "", {document_id(0): 1}) for i in range(5)]
    vectors = np.stack([unit(rng.standard_normal(16)) for _ in range(5)])
    return make_world(tmp_path_factory.mktemp("planted"), sample_model, sentences, queries, vectors)


def planted_passages(world: World) -> set[int]:
    """The passages that have half of their trigrams of characters from document 0, by plain sets."""
    relevant = plain_shingles([ord(c) for c in "".join(world.sentences[0])])
    found = set()
    flat = [(d, text) for d, document in enumerate(world.sentences) for text in document]
    for number, (document, text) in enumerate(flat):
        own = plain_shingles([ord(c) for c in text])
        if document and len(own & relevant) / len(own) >= 0.5:
            found.add(number)
    return found


def test_no_planted_near_duplicate_is_mined(planted: World) -> None:
    planted_ones = planted_passages(planted)
    assert len(planted_ones) == 20
    without = [n.passage for row in mine(planted.pool, first(planted), EVERYTHING) for n in row.negatives]
    assert planted_ones & set(without), "else there was nothing to refuse"
    recipe = replace(EVERYTHING, near_duplicate_share=0.5)
    mined = list(mine(planted.pool, first(planted), recipe))
    assert not planted_ones & {n.passage for row in mined for n in row.negatives}
    counts = mining_counts(planted.pool, mined, recipe)
    assert counts["refused_near_duplicate_of_relevant_document"] > 0
    taken = {n.passage for row in mined for n in row.negatives}
    assert set(without) - taken <= planted_ones, "nothing else is lost"


@pytest.mark.parametrize(("ratio", "margin"), [(0.95, None), (0.5, None), (None, -0.1), (None, 0.2), (0.9, -0.05)])
def test_no_negative_scores_above_the_limit(world: World, ratio: float | None, margin: float | None) -> None:
    recipe = replace(SEARCH, negatives=149, hard_share=0.5, max_score_ratio=ratio, max_score_margin=margin)
    mined, rows = mine_all(world, recipe)
    refused = 0
    backgrounds = [numpy_scores(world, query).mean() for query in range(len(rows))]
    for query, (row, result) in enumerate(zip(rows, mined, strict=True)):
        best = max(numpy_scores(world, query)[row["pos_passages"]])
        above = best - backgrounds[query]
        limits = [] if ratio is None else [backgrounds[query] + max(0.0, above) * ratio]
        limits += [] if margin is None else [best + margin]
        assert all(score <= min(limits) + 1e-6 for score in numpy_scores(world, query)[row["neg_passages"]])
        refused += result.refused["score_too_high"]
    assert refused == mining_counts(world.pool, mined, recipe)["refused_score_too_high"] > 0


def test_top_draws_the_highest_first(world: World) -> None:
    """Of ranks 2 to 20 the first seven that may be drawn."""
    _, rows = mine_all(world, replace(SEARCH, hard_draw="top"))
    for query, row in enumerate(rows):
        hard = [rank for rank, kind in zip(row["neg_ranks"], row["neg_kinds"], strict=True) if kind == "hard"]
        assert hard == sorted(hard)
        skipped = set(range(2, hard[-1])) - set(hard)
        ranking = numpy_ranking(world, query)
        forbidden = {t for d in row["pos_ids"] for t in world.sentences[world.pool.number_of[d]]}
        flat = [text for document in world.sentences for text in document]
        drawn = {flat[p] for p in row["neg_passages"]}
        for rank in skipped:
            document = ranking[rank - 1]
            text = flat[best_sentence(world, query, document)]
            assert world.ids[document] in row["pos_ids"] or text in forbidden or text in drawn


def test_score_draws_the_likelier_the_higher(world: World) -> None:
    """Over many seeds the first rank of the window is drawn more often than the last, and either of them sometimes."""
    drawn = {2: 0, 20: 0}
    for seed in range(40):
        recipe = MiningSettings("search", 3, 1.0, (2, 20), None, seed, hard_draw="score")
        _, rows = mine_all(world, recipe)
        for row in rows:
            for rank in drawn:
                drawn[rank] += rank in row["neg_ranks"]
    assert drawn[2] > 1.5 * drawn[20] > 0


def test_negatives_that_answer_held_out_questions_are_counted(planted: World) -> None:
    mined, _ = mine_all(planted, EVERYTHING)
    drawn = [planted.ids[planted.pool.passages.document[n.passage]] for row in mined for n in row.negatives]
    own = set(planted.pool.queries[0].relevant())
    chosen = [document for document in planted.ids if document not in own][:7]
    held_out = {
        "dev": [Query("a", "", {chosen[0]: 1, chosen[1]: 0}), Query("b", "", {chosen[0]: 1})],
        "test": [Query("c", "", dict.fromkeys([*chosen[2:], *own], 1))],
    }
    expected = {"dev": drawn.count(chosen[0]), "test": sum(document in chosen[2:] for document in drawn)}
    assert expected["dev"] and expected["test"] > 2
    counts = held_out_counts(planted.pool, mined, held_out)
    assert counts == {f"negatives_relevant_in_{split}": count for split, count in expected.items()}


def test_a_ratio_refuses_the_same_for_models_whose_cosines_lie_in_another_band(world: World) -> None:
    """A constant that every score has in common, as in E5's cosines, changes no choice."""
    recipe = replace(SEARCH, max_score_ratio=0.8)
    pool = world.pool
    vectors = (pool.query_vectors, pool.passage_vectors)
    lifted = [np.pad(side, ((0, 0), (0, 1)), constant_values=1.5) for side in vectors]
    shifted = replace(
        pool,
        query_vectors=lifted[0],
        passage_vectors=lifted[1],
        background=background_scores(*lifted),
        rankings=replace(pool.rankings, scores=pool.rankings.scores + np.float32(2.25)),
    )
    chosen = [[(n.passage, n.kind) for n in row.negatives] for row in mine(pool, first(world), recipe)]
    assert chosen == [[(n.passage, n.kind) for n in row.negatives] for row in mine(shifted, first(world), recipe)]
    assert sum(row.refused["score_too_high"] for row in mine(pool, first(world), recipe)) > 0


def test_a_question_is_no_negative_of_itself(tmp_path: Path, sample_model: Path) -> None:
    """Neither a passage with its text, nor any passage of a document that it ignores."""
    rng = np.random.default_rng(4)
    sentences = [[random_sentence(rng) for _ in range(2)] for _ in range(20)]
    query = Query("q", f" {sentences[7][1]}\n", {document_id(0): 1, document_id(9): 0}, ignored=[document_id(9)])
    world = make_world(tmp_path, sample_model, sentences, [query], unit(rng.standard_normal(16))[None])
    for recipe in (EVERYTHING, replace(EVERYTHING, hard_share=0.0), replace(EVERYTHING, source="both")):
        mined, rows = mine_all(world, recipe)
        texts = rows[0]["neg"]
        assert sentences[7][1] not in texts and not set(sentences[9]) & set(texts)
        assert len(texts) >= 17
        assert mining_counts(world.pool, mined, recipe)["refused_text_of_query"] >= 1
    source = replace(EVERYTHING, source="dataset")
    assert mine_all(world, source)[1][0]["neg"] == []
