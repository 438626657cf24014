"""Search by words against a textbook's BM25, and fusions against their formulas."""

from __future__ import annotations

import unicodedata

import bm25s
import jieba
import numpy as np
import pytest
from bm25s.tokenization import Tokenized
from numpy.typing import NDArray

from embedtune.data.corpus import Query
from embedtune.evaluation.fusion_weight import best_weight
from embedtune.retrieval import bm25 as bm25_module
from embedtune.retrieval import postings
from embedtune.retrieval.bm25 import rank_by_bm25, temporary_index
from embedtune.retrieval.fusion import reciprocal_rank_fusion, weighted_score_fusion
from embedtune.retrieval.rankings import Rankings, rankings_of
from embedtune.retrieval.terms import lexical_tokenizer, terms
from tests.golden.mining import CHARACTERS
from tests.golden.test_positives import own_terms, textbook_bm25

IDS = [f"d{(i * 37) % 101}" for i in range(60)]


def texts(seed: int) -> list[str]:
    rng = np.random.default_rng(seed)
    return ["".join(rng.choice([*CHARACTERS[:9], " word ", "，"], rng.integers(0, 40))) for _ in range(60)]


def best_first(scores: dict[int, float], depth: int) -> list[int]:
    order = sorted(scores, key=lambda d: IDS[d], reverse=True)
    return sorted(order, key=lambda d: scores[d], reverse=True)[:depth]


@pytest.mark.parametrize(("k1", "b"), [(1.5, 0.75), (0.9, 0.4)])
@pytest.mark.parametrize("depth", [5, 60, 100])
def test_documents_and_scores_are_a_textbook_bm25s(k1: float, b: float, depth: int) -> None:
    """Copies of a document give equal scores, which rank by id, descending."""
    corpus = texts(1)
    corpus[40:50] = corpus[:10]
    queries = [Query(f"q{i}", text[:12] + " word unknown", {}) for i, text in enumerate(texts(2)[:20])]
    index = temporary_index(corpus, "bigrams", k1, b)
    ranked = rank_by_bm25(index, queries, IDS, depth)
    split = [own_terms(text) for text in corpus]
    split = [found or [""] for found in split]
    for row, query in enumerate(queries):
        scores = textbook_bm25(own_terms(query.text), split, k1, b)
        found = [d for d in ranked.documents[row].tolist() if d >= 0]
        rounded = {d: float(np.round(scores[d], 4)) for d in range(60) if scores[d] > 0}
        assert len(found) == min(depth, len(rounded))
        np.testing.assert_allclose(ranked.scores[row, : len(found)], scores[found], rtol=1e-5)
        assert [rounded[d] for d in found] == [rounded[d] for d in best_first(rounded, depth)]
        for copy in range(10):
            pair = [d for d in found if d in (copy, copy + 40)]
            assert pair == sorted(pair, key=lambda d: IDS[d], reverse=True)


def test_an_index_of_many_blocks_is_bm25s_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """Bit by bit, for questions with repeated terms and with terms that no text has; texts without a term count too."""
    monkeypatch.setattr(postings, "BLOCK_POSTINGS", 50)
    corpus = ["", *texts(3), "，。"]
    index, numbers = temporary_index(corpus), dict[str, int]()
    ids = [[numbers.setdefault(term, len(numbers)) for term in terms(text) or [""]] for text in corpus]
    peer = bm25s.BM25(method="lucene", k1=1.5, b=0.75)
    peer.index(Tokenized(ids=ids, vocab=numbers), show_progress=False)
    for text in texts(4):
        asked = [numbers[term] for term in terms(text + text[:5] + " unknown") if term in numbers]
        np.testing.assert_array_equal(index.scores(text + text[:5] + " unknown"), peer.get_scores_from_ids(asked))
    assert len(index.vocabulary) == len(numbers) - 1 > 50


def test_what_is_remembered_of_earlier_questions_changes_no_score(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bm25_module, "REMEMBERED", 5)
    index, questions = temporary_index(texts(4)), [text[:12] + " unknown" for text in texts(5)[:20]]
    for question in questions + questions[::-1]:
        np.testing.assert_array_equal(index.scores(question), temporary_index(texts(4)).scores(question))
    assert len(index.places) <= 5 + max(len(terms(question)) for question in questions)


SENTENCES = {  # one of each language of MLDR; its words as a person cuts them, or "" for bigrams
    "ar": ("هٰذا كِتَابٌ جَدِيدٌ، في المكتبة", "هٰذا كِتَابٌ جَدِيدٌ في المكتبة"),
    "de": ("Über die Straße fährt ein Bus.", "über die straße fährt ein bus"),
    "en": ("The model's size: 12 layers_deep!", "the model s size 12 layers deep"),
    "es": ("¿Dónde está el niño pequeño?", "dónde está el niño pequeño"),
    "fr": ("L'élève a reçu sa leçon où ?", "l élève a reçu sa leçon où"),
    "hi": ("हिन्दी भाषा की किताब, लड़का और लड़की।", "हिन्दी भाषा की किताब लड\u093cका और लड\u093cकी"),
    "it": ("Perché la città è così bella?", "perché la città è così bella"),
    "ja": ("がっこう、学校", "がっ っこ こう 学校"),
    "ko": ("한국어 문서를 찾는다.", "한국어 문서를 찾는다"),
    "pt": ("Não há coração são.", "não há coração são"),
    "ru": ("Съешь же ещё этих мягких йогуртов", "съешь же ещё этих мягких йогуртов"),
    "th": ("ข้าวขาว", "ข้ ้า าว วข ขา าว"),
    "zh": ("合同何时生效？第1条", "合同 同何 何时 时生 生效 第 1 条"),
}


@pytest.mark.parametrize("language", SENTENCES)
def test_marks_continue_a_word_in_every_language(language: str) -> None:
    """However the text is encoded: composed, decomposed, with characters that show nothing."""
    text, expected = SENTENCES[language]
    words = [unicodedata.normalize("NFC", word) for word in expected.split()]
    for form in ("NFC", "NFD"):
        assert terms(unicodedata.normalize(form, text)) == words, form
    assert terms("\u200f".join(text)) == words
    assert terms("") == terms("\u0301 \ufe0f") == []


def test_scripts_without_spaces_give_bigrams_whatever_their_marks() -> None:
    for text in ("ភាសាខ្មែរ", "ພາສາລາວ", "မြန်မာစာ"):
        assert terms(f"{text} word") == [*(text[i : i + 2] for i in range(len(text) - 1)), "word"]


def test_jieba_cuts_chinese_and_leaves_other_words_whole() -> None:
    cut = lexical_tokenizer("jieba")
    assert cut("合同何时生效") == [*jieba.lcut("合同何时生效")]
    text = "हिन्दी für 我爱北京天安门 T恤 ข้าว étude3 1.5% かな"
    assert cut(text) == [
        "हिन्दी",
        "für",
        "我",
        "爱",
        "北京",
        "天安门",
        "t",
        "恤",
        "ข้",
        "้า",
        "าว",
        "étude3",
        "1.5%",
        "かな",
    ]


@pytest.mark.parametrize("corpus", [[], ["", "，"]])
def test_an_index_without_terms_scores_nothing(corpus: list[str]) -> None:
    assert temporary_index(corpus).scores("word").tolist() == [0.0] * len(corpus)


def test_jieba_cuts_words_and_leaves_punctuation_out() -> None:
    assert lexical_tokenizer("jieba")("劳动合同法，Article 3。") == ["劳动", "合同法", "article", "3"]


def two_lists(seed: int) -> tuple[Rankings, Rankings, list[list[dict[int, float]]]]:
    """Two rankings of eight questions and their scores as dictionaries; some lists are short, one is empty."""
    rng = np.random.default_rng(seed)
    lists: list[list[dict[int, float]]] = []
    for side in range(2):
        rows = []
        for query in range(8):
            count = 0 if (side, query) == (1, 3) else int(rng.integers(1, 20))
            chosen = rng.choice(60, count, replace=False)
            values = np.sort(rng.random(count).astype(np.float32))[::-1]
            rows.append(dict(zip(chosen.tolist(), values.tolist(), strict=True)))
        lists.append(rows)
    dense, lexical = (rankings_of([as_row(row) for row in rows], 20) for rows in lists)
    return dense, lexical, lists


def as_row(scores: dict[int, float]) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    return np.array(list(scores), dtype=np.int32), np.array(list(scores.values()), dtype=np.float32)


def test_reciprocal_rank_fusion_is_its_formula() -> None:
    dense, lexical, lists = two_lists(1)
    fused = reciprocal_rank_fusion(dense, lexical, IDS, depth=12, k=60)
    for query in range(8):
        total: dict[int, float] = {}
        for side in lists:
            for rank, document in enumerate(side[query], start=1):
                total[document] = total.get(document, 0) + 0.5 / (60 + rank)
        rounded = {document: float(np.float32(value)) for document, value in total.items()}
        expected = best_first(rounded, 12)
        assert fused.documents[query, : len(expected)].tolist() == expected
        assert (fused.documents[query, len(expected) :] == -1).all()


@pytest.mark.parametrize("weight", [0.0, 0.3, 1.0])
def test_a_weighted_sum_is_its_formula(weight: float) -> None:
    dense, lexical, lists = two_lists(2)
    fused = weighted_score_fusion(dense, lexical, IDS, depth=40, weight=weight)
    for query in range(8):
        total: dict[int, float] = {}
        for share, side in ((weight, lists[0][query]), (1 - weight, lists[1][query])):
            low, high = (min(side.values()), max(side.values())) if side else (0, 0)
            for document, score in side.items():
                scaled = (score - low) / (high - low) if high > low else 1.0
                total[document] = total.get(document, 0) + share * scaled
        expected = best_first({d: float(np.float32(value)) for d, value in total.items()}, 40)
        values = fused.scores[query, : len(expected)]
        np.testing.assert_allclose(values, [total[d] for d in expected], atol=1e-6)


def test_the_weight_is_the_one_that_ranks_dev_best() -> None:
    """The relevant document is the dense list's first: any weight that puts it first will do, 0.5 if it does."""
    dense, lexical, lists = two_lists(3)
    by_dense = [Query(f"q{i}", "", {IDS[next(iter(row))]: 1}) for i, row in enumerate(lists[0])]
    by_words = [Query(f"q{i}", "", {IDS[next(iter(row), 0)]: 1}) for i, row in enumerate(lists[1])]
    assert best_weight(dense, lexical, by_dense, IDS) >= 0.5
    assert best_weight(dense, lexical, by_words, IDS) <= 0.5
