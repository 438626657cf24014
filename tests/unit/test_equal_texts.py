"""Documents with the text of another document, and questions that are documents, against plain comparisons."""

from __future__ import annotations

import numpy as np

from embedtune.data.convert import fingerprint
from embedtune.data.corpus import Query
from embedtune.data.equal_texts import equal_documents, is_judged_unlike, judge_alike, own_documents

TEXTS = {"d1": "one", "d2": "two", "d3": "one\n", "d4": "four", "d5": " one", "d6": "two"}
EQUALS = equal_documents({document: fingerprint(text) for document, text in TEXTS.items()})


def test_documents_are_equal_but_for_white_space_around_them() -> None:
    ones, twos = ["d1", "d3", "d5"], ["d2", "d6"]
    assert {**dict.fromkeys(ones, ones), **dict.fromkeys(twos, twos)} == EQUALS


def test_many_documents_are_grouped_as_by_comparing_all_pairs() -> None:
    rng = np.random.default_rng(0)
    texts = {f"d{i}": str(rng.integers(60)) for i in range(100)}
    expected = {
        document: same
        for document, text in texts.items()
        if len(same := [other for other, its_text in texts.items() if its_text == text]) > 1
    }
    assert equal_documents({document: fingerprint(text) for document, text in texts.items()}) == expected


def test_equal_documents_are_judged_alike_with_the_teachers_score() -> None:
    asked = [
        Query("q1", "?", {"d3": 2, "d4": 1, "d5": 0}, scores={"d3": 0.5, "d5": 0.1}),
        Query("q2", "?", {"d2": 1, "d6": 1, "d1": 0}),
        Query("q3", "?", {"d4": 1}),
    ]
    assert [is_judged_unlike(query, EQUALS) for query in asked] == [True, False, False]
    judge_alike(asked, EQUALS)
    assert asked[0].judgments == {"d3": 2, "d4": 1, "d5": 2, "d1": 2}
    assert asked[0].scores == {"d3": 0.5, "d5": 0.1, "d1": 0.5}
    assert asked[1].judgments == {"d2": 1, "d6": 1, "d1": 0}
    assert not any(is_judged_unlike(query, EQUALS) for query in asked)


def test_a_questions_own_documents_are_those_of_its_text_that_do_not_answer_it() -> None:
    asked = [
        Query("q1", "one", {"d4": 1}),
        Query("q2", "one ", {"d1": 1, "d3": 0}),
        Query("q3", "titled", {"d4": 1}),
        Query("q4", "four", {"d4": 1}),
        Query("q5", "none", {"d4": 1}),
    ]
    texts = {document: fingerprint(text) for document, text in TEXTS.items()} | {"d7": fingerprint("Title titled")}
    bodies = {"d7": fingerprint("titled")}
    assert own_documents(asked, texts, bodies) == [["d1", "d3", "d5"], ["d3", "d5"], ["d7"], [], []]
