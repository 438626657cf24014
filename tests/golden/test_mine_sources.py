"""Negatives that the data set brings, alone and beside those of the search."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest

from embedtune.core.errors import EmbedTuneError
from embedtune.data.corpus import Query
from embedtune.mining.mine import mine
from tests.golden.mining import (
    SEARCH,
    World,
    best_sentence,
    document_id,
    first,
    many_questions,
    mine_all,
    numbers_of,
    numpy_ranking,
    uniform,
)


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
    mined = list(mine(many_questions(judged, 900).pool, first(plain), recipe))
    document = plain.pool.passages.document
    assert uniform(Counter(int(document[n.passage]) for row in mined for n in row.negatives), own) > 1e-3
    assert uniform(Counter(int(document[row.negatives[0].passage]) for row in mined), own) > 1e-3


def test_source_dataset_names_a_question_without_negatives(world: World) -> None:
    queries = [replace(query, judgments=dict.fromkeys(query.relevant(), 1)) for query in world.pool.queries]
    queries[:3] = world.pool.queries[:3]
    pool = replace(world.pool, queries=queries)
    with pytest.raises(EmbedTuneError, match=r"source: with dataset every question .* 'q3' brings none"):
        list(mine(pool, first(world), replace(SEARCH, source="dataset")))


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
