"""What train shares with dev and test, against plain sets."""

from __future__ import annotations

import unicodedata

import numpy as np
import pytest

from embedtune.core.errors import EmbedTuneError
from embedtune.data import leaks as leaks_module
from embedtune.data.corpus import Query
from embedtune.data.leaks import find_leaks, without_leaks


def query(text: str, document: str, negative: str = "") -> Query:
    return Query(f"{text}-{document}", text, {document: 1, **({negative: 0} if negative else {})})


def test_questions_are_equal_but_for_case_width_space_and_punctuation() -> None:
    train = [query("合同何时生效？", "d1"), query("ＡＢ 公司的法人", "d2"), query("与此无关的问题", "d3", "d9")]
    splits = {
        "train": train,
        "dev": [query("ab公司的法人。", "d8")],
        "test": [query("合同 何时生效", "d1"), query("x", "d9")],
    }
    counts, leaking = find_leaks(splits, 0.8)
    assert leaking == {"train": {0, 1}, "dev": set()}
    assert counts == {
        "train_queries_equal_to_dev": 1,
        "train_queries_nearly_equal_to_dev": 0,
        "train_queries_with_documents_of_dev": 0,
        "train_negatives_relevant_in_dev": 0,
        "train_queries_equal_to_test": 1,
        "train_queries_nearly_equal_to_test": 0,
        "train_queries_with_documents_of_test": 1,
        "train_negatives_relevant_in_test": 1,
        "dev_queries_equal_to_test": 0,
        "dev_queries_nearly_equal_to_test": 0,
        "dev_queries_with_documents_of_test": 0,
    }
    assert without_leaks("train", train, leaking["train"]) == train[2:]


def test_questions_of_dev_that_test_asks_are_found() -> None:
    splits = {
        "train": [query("不相干的一个问题", "d1")],
        "dev": [query("合同 何时生效？", "d2"), query("如何解除劳动合同呢", "d3"), query("谁有权继承", "d4")],
        "test": [query("合同何时生效", "d2"), query("如何解除劳动合同", "d9")],
    }
    counts, leaking = find_leaks(splits, 0.8)
    assert leaking == {"train": set(), "dev": {0, 1}}
    assert counts["dev_queries_equal_to_test"] == counts["dev_queries_nearly_equal_to_test"] == 1
    assert counts["dev_queries_with_documents_of_test"] == 1
    assert without_leaks("dev", splits["dev"], leaking["dev"]) == splits["dev"][2:]


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("ข้าว", "ขาว", False),  # rice, white
        ("लड़का", "लड़की", False),  # boy, girl
        ("की", "का", False),
        ("\u0915\u093c", "\u0958", True),  # qa, composed and decomposed
        ("が", "か\u3099", True),
        ("학교", unicodedata.normalize("NFD", "학교"), True),
        ("schiff\u00adfahrt", "Schifffahrt", True),
        ("क्\u200dष", "क्ष", True),
        ("❤\ufe0f 葛\U000e0100城", "葛城", True),
        ("straße", "STRASSE", True),
        ("कर्म_योग!", "कर्म योग", True),
    ],
)
def test_combining_marks_tell_questions_apart_and_forms_of_writing_do_not(one: str, other: str, same: bool) -> None:
    splits = {"train": [query(one, "d1")], "dev": [query("x", "d2")], "test": [query(other, "d3")]}
    counts, leaking = find_leaks(splits, 1.0)
    assert (leaking["train"] == {0}) == (counts["train_queries_equal_to_test"] == 1) == same


WORDS = {  # of each language of MLDR, two that differ by a mark or a stroke
    **{"ar": ("كَتَبَ", "كُتِبَ"), "de": ("schon", "schön"), "en": ("resume", "résumé"), "es": ("ano", "año")},
    **{"fr": ("cote", "côté"), "hi": ("लड़का", "लड़की"), "it": ("pero", "però"), "ja": ("はし", "ばし")},
    **{"ko": ("가", "각"), "pt": ("avó", "avô"), "ru": ("все", "всё"), "th": ("ข้าว", "ขาว"), "zh": ("土", "士")},
}


@pytest.mark.parametrize("language", WORDS)
@pytest.mark.parametrize("form", ["NFC", "NFD"])
def test_words_of_every_language_are_told_apart_however_they_are_encoded(language: str, form: str) -> None:
    one, other = WORDS[language]
    train = [query(unicodedata.normalize(form, word), f"d{word}") for word in (one, other)]
    splits = {"train": train, "dev": [query("x", "d")], "test": [query(f"{one}?", "d")]}
    assert find_leaks(splits, 1.0)[1]["train"] == {0}


def jaccard(a: str, b: str) -> float:
    first, second = ({text[i : i + 3] for i in range(max(1, len(text) - 2))} for text in (a, b))
    return len(first & second) / len(first | second)


@pytest.mark.parametrize("pairs", [10_000_000, 200, 1])
@pytest.mark.parametrize("similarity", [0.3, 0.5, 0.8, 1.0])
def test_nearly_equal_questions_are_those_of_plain_sets(
    similarity: float, pairs: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leaks_module, "PAIRS_AT_A_TIME", pairs)
    rng = np.random.default_rng(0)
    texts = ["".join(rng.choice(list("天地玄黄宇宙"), rng.integers(1, 15))) for _ in range(60)]
    for i in range(30):
        changed = list(texts[i])
        changed[rng.integers(len(changed))] = "洪"
        texts.append("".join(changed))
    train, test = (
        [query(t, f"a{i}") for i, t in enumerate(texts[:60])],
        [query(t, f"b{i}") for i, t in enumerate(texts[60:])],
    )
    counts, leaking = find_leaks({"train": train, "dev": [query("全然不同的一句话", "c")], "test": test}, similarity)
    expected = {i for i in range(60) if any(jaccard(texts[i], other) >= similarity for other in texts[60:])}
    assert leaking["train"] == expected
    assert bool(expected) == (similarity < 1)
    assert counts["train_queries_equal_to_test"] + counts["train_queries_nearly_equal_to_test"] == len(expected)


def test_a_train_split_that_leaks_as_a_whole_is_refused() -> None:
    with pytest.raises(EmbedTuneError, match=r"remove_leaks: every training question"):
        without_leaks("train", [query("a", "d")], {0})


def test_a_dev_split_that_leaks_as_a_whole_is_refused() -> None:
    with pytest.raises(EmbedTuneError, match=r"remove_leaks: every dev question is \(nearly\) asked in test too"):
        without_leaks("dev", [query("a", "d")], {0})
