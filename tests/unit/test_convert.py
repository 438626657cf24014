"""Conversion: every layout gives the same data set, no row is lost without a word, and splits are carved by seed."""

from __future__ import annotations

import io
import json
import tracemalloc
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from embedtune.convert import CorpusWriter, complete_splits, convert, shuffle_questions
from embedtune.corpus import SPLITS, Query, read_corpus, read_queries, write_qrels, write_queries
from embedtune.errors import EmbedTuneError
from embedtune.layouts.opening import open_layout
from embedtune.layouts.rows import BadRows, CorpusRow, Layout

ROOT = Path(__file__).resolve().parents[2]
REAL_DATA = ROOT.parent / "shared" / "data"
SHARES = {"train": 0.6, "dev": 0.2, "test": 0.2}

Rows = list[dict[str, Any]]


@dataclass
class Converted:
    """What conversion gave: document id -> text, split -> questions, counts, rows set aside."""

    documents: dict[str, str]
    questions: dict[str, list[Query]]
    counts: dict[str, Any]
    set_aside: Rows

    def by_text(self, split: str) -> dict[str, dict[str, int]]:
        """Question -> text of each judged document -> relevance, whatever the ids are."""
        return {
            query.text: {self.documents[document]: score for document, score in query.judgments.items()}
            for query in self.questions[split]
        }


def converted(root: Path, layout_format: str, on_bad_row: str = "fail") -> Converted:
    set_aside = io.BytesIO() if on_bad_row == "skip" else None
    bad_rows = BadRows(set_aside)
    corpus = io.BytesIO()
    questions, counts = convert(open_layout(root, layout_format, "zh", bad_rows), CorpusWriter(corpus), bad_rows)
    documents = [json.loads(line) for line in corpus.getvalue().splitlines()]
    assert len({row["_id"] for row in documents}) == len(documents) == counts["documents"]
    return Converted(
        {row["_id"]: row["text"] for row in documents},
        questions,
        counts,
        [json.loads(line) for line in set_aside.getvalue().splitlines()] if set_aside else [],
    )


def complaint(root: Path, layout_format: str) -> list[str]:
    """The lines of the message about a data set, its directory and the way to go on left out."""
    with pytest.raises(EmbedTuneError) as caught:
        converted(root, layout_format)
    *lines, hint = str(caught.value).replace(f"{root}/", "").split("\n")
    assert hint == "mend these rows, or write `dataset.on_bad_row: skip` to set them aside"
    return lines


def write_rows(path: Path, rows: Rows) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")


def mldr_row(query_id: str, query: str, positive: list[str], negative: list[str] | None = None) -> dict[str, Any]:
    """A row that names documents by id alone."""
    return {
        "query_id": query_id,
        "query": query,
        "positive_passages": [{"docid": document} for document in positive],
        "negative_passages": [{"docid": document} for document in negative or []],
    }


def queries(count: int, prefix: str = "q") -> list[Query]:
    return [Query(f"{prefix}{i}", f"question {i}", {f"d{i}": 1}) for i in range(count)]


TEXTS = {"d1": "第一篇", "d2": "second", "d3": "third"}
SAME = {
    "train": {"一？": {"第一篇": 1, "second": 0}, "two?": {"second": 1, "third": 1}},
    "dev": {"three?": {"third": 1, "第一篇": 0}},
    "test": {"four?": {"third": 1, "second": 0}},
}


def write_same(root: Path, layout_format: str) -> None:
    """The data set SAME in a layout."""
    ids = {text: document for document, text in TEXTS.items()}
    if layout_format == "mldr":
        write_rows(root / "corpus.jsonl", [{"docid": document, "text": text} for document, text in TEXTS.items()])
    if layout_format == "beir":
        write_rows(root / "corpus.jsonl", [{"_id": document, "text": text} for document, text in TEXTS.items()])
        write_rows(root / "queries.jsonl", [{"_id": f"q-{q}", "text": q} for split in SAME.values() for q in split])
        (root / "qrels").mkdir()
    for split, judged in SAME.items():
        if layout_format == "beir":
            lines = [f"q-{q}\t{ids[text]}\t{score}\n" for q, docs in judged.items() for text, score in docs.items()]
            (root / "qrels" / f"{split}.tsv").write_text("".join(lines), encoding="utf-8")
            continue
        rows = []
        for question, docs in judged.items():
            positive, negative = ([text for text, score in docs.items() if score == value] for value in (1, 0))
            if layout_format == "mldr":
                rows.append(mldr_row(f"q-{question}", question, [ids[t] for t in positive], [ids[t] for t in negative]))
            elif layout_format == "triplets":
                rows.append({"query": question, "pos": positive, "neg": negative})
            else:
                rows += [{"query": question, "pos_doc": text} for text in positive]
        write_rows(root / f"{split}.jsonl", rows)


@pytest.mark.parametrize("layout_format", ["mldr", "beir", "triplets", "pairs"])
def test_every_layout_gives_the_same_data_set(tmp_path: Path, layout_format: str) -> None:
    write_same(tmp_path, layout_format)
    got = converted(tmp_path, layout_format)
    expected = SAME
    if layout_format == "pairs":  # which has no negatives
        expected = {
            split: {q: {text: 1 for text, score in docs.items() if score} for q, docs in judged.items()}
            for split, judged in SAME.items()
        }
    assert {split: got.by_text(split) for split in SPLITS} == expected
    assert sorted(got.documents.values()) == sorted(TEXTS.values())
    if layout_format in ("mldr", "beir"):
        assert got.documents == TEXTS and got.counts["documents_added"] == 0
    assert (got.counts["rows_skipped"], got.counts["documents_differing"]) == (0, 0)


def test_ids_made_up_for_rows_without_ids_depend_on_their_text_alone(tmp_path: Path) -> None:
    rows = [{"query": f"q{i}", "pos_doc": f"text {i}"} for i in range(5)]
    write_rows(tmp_path / "a" / "train.jsonl", rows)
    write_rows(tmp_path / "b" / "train.jsonl", rows[::-1])
    first, second = (converted(tmp_path / name, "pairs") for name in "ab")
    assert first.documents == second.documents
    assert {q.id: q.text for q in first.questions["train"]} == {q.id: q.text for q in second.questions["train"]}


def test_counts_describe_the_corpus(tmp_path: Path) -> None:
    rows = [{"query": str(i), "pos_doc": "字" * length} for i, length in enumerate((1, 2, 9))]
    write_rows(tmp_path / "train.jsonl", rows)
    assert converted(tmp_path, "pairs").counts == {
        "documents": 3,
        "documents_added": 3,
        "documents_differing": 0,
        "document_characters_mean": 4.0,
        "document_characters_median": 2,
        "document_characters_max": 9,
        "rows_merged": 0,
        "rows_skipped": 0,
    }


def test_documents_that_rows_bring_along_are_added_once_and_counted(tmp_path: Path) -> None:
    write_rows(tmp_path / "corpus.jsonl", [{"docid": "d1", "text": "one"}])
    row = mldr_row("q1", "?", ["d1", "d2"], ["d3"])
    row["positive_passages"][1]["text"] = "two"
    row["negative_passages"][0]["text"] = "three"
    again = mldr_row("q2", "??", ["d3"], ["d2"])
    again["positive_passages"][0]["text"] = "three"
    write_rows(tmp_path / "train.jsonl", [row, again])
    got = converted(tmp_path, "mldr")
    assert got.documents == {"d1": "one", "d2": "two", "d3": "three"}
    assert got.counts["documents_added"] == 2
    assert got.questions["train"][1].judgments == {"d3": 1, "d2": 0}


def test_the_corpus_goes_before_a_row_that_words_a_document_otherwise_and_it_is_counted(tmp_path: Path) -> None:
    write_rows(tmp_path / "corpus.jsonl", [{"docid": "d1", "text": "one"}])
    row = mldr_row("q1", "?", ["d1"])
    row["positive_passages"][0]["text"] = "ONE"
    write_rows(tmp_path / "train.jsonl", [row])
    got = converted(tmp_path, "mldr")
    assert (got.documents, got.counts["documents_differing"]) == ({"d1": "one"}, 1)


@pytest.mark.parametrize("layout_format", ["triplets", "pairs"])
def test_rows_that_ask_the_same_question_are_merged_and_counted(tmp_path: Path, layout_format: str) -> None:
    rows: Rows = [
        {"query": "same?", "pos": ["a"], "neg": ["b", "c"], "pos_doc": "a"},
        {"query": "other?", "pos": ["a"], "neg": [], "pos_doc": "a"},
        {"query": "same?", "pos": ["b"], "neg": ["a", "d"], "pos_doc": "b"},
    ]
    write_rows(tmp_path / "train.jsonl", rows)
    write_rows(tmp_path / "dev.jsonl", rows[1:2])  # the same question in another split is another question
    got = converted(tmp_path, layout_format)
    merged = {"a": 1, "b": 1, "c": 0, "d": 0} if layout_format == "triplets" else {"a": 1, "b": 1}
    assert got.by_text("train") == {"same?": merged, "other?": {"a": 1}}
    assert got.counts["rows_merged"] == 1
    assert [q.text for q in got.questions["dev"]] == ["other?"]


def test_a_text_that_is_both_positive_and_negative_is_positive(tmp_path: Path) -> None:
    write_rows(tmp_path / "train.jsonl", [{"query": "?", "pos": ["a"], "neg": ["a", "b"]}])
    assert converted(tmp_path, "triplets").by_text("train") == {"?": {"a": 1, "b": 0}}


def write_beir(root: Path, train: str, documents: tuple[str, ...] = ("d1", "d2", "d3")) -> None:
    write_rows(root / "corpus.jsonl", [{"_id": document, "text": document} for document in documents])
    write_rows(root / "queries.jsonl", [{"_id": f"q{i}", "text": f"question {i}"} for i in (1, 2, 3)])
    (root / "qrels").mkdir()
    (root / "qrels" / "train.tsv").write_text(train, encoding="utf-8")


def test_graded_judgments_are_kept_and_those_below_zero_name_negatives(tmp_path: Path) -> None:
    write_beir(tmp_path, "q1\td1\t3\nq1\td2\t1\nq1\td3\t-1\n")
    got = converted(tmp_path, "beir")
    assert got.questions["train"][0].judgments == {"d1": 3, "d2": 1, "d3": 0}
    assert got.questions["train"][0].relevant() == ["d1", "d2"]
    assert got.questions["train"][0].negatives() == ["d3"]


def test_a_judgment_of_a_missing_document_is_named_with_its_own_line(tmp_path: Path) -> None:
    write_beir(tmp_path, "query-id\tcorpus-id\tscore\nq1\td1\t1\nq2\td2\t1\nq1\tgone\t1\n")
    assert complaint(tmp_path, "beir") == [
        "qrels/train.tsv:4: names the document 'gone', which the corpus lacks",
    ]


def test_no_judgment_is_lost_where_another_of_the_same_question_is_set_aside(tmp_path: Path) -> None:
    lines = ["q1\td1\t1", "q1\td2\t1", "q1\tgone\t1", "q2\td2\t1"]
    write_beir(tmp_path, "\n".join(lines) + "\n")
    got = converted(tmp_path, "beir", "skip")
    kept = [f"{q.id}\t{d}\t{score}" for q in got.questions["train"] for d, score in q.judgments.items()]
    skipped = [row["row"] for row in got.set_aside]
    assert sorted(kept + skipped) == sorted(lines)
    assert got.counts["rows_skipped"] == len(skipped)


def test_a_question_without_a_relevant_document_is_refused(tmp_path: Path) -> None:
    write_beir(tmp_path, "q1\td1\t0\nq2\td2\t1\n")
    assert complaint(tmp_path, "beir") == ["qrels/train.tsv:1: has no relevant document; give at least one"]


def test_a_row_that_names_a_document_nobody_has_is_refused(tmp_path: Path) -> None:
    write_rows(tmp_path / "corpus.jsonl", [{"docid": "d1", "text": "one"}])
    write_rows(
        tmp_path / "train.jsonl",
        [mldr_row("q1", "?", ["d1"]), mldr_row("q2", "?", ["d9"]), mldr_row("q3", "?", ["d1"], ["d8"])],
    )
    assert complaint(tmp_path, "mldr") == [
        "train.jsonl:2: names the document 'd9', which the corpus lacks",
        "train.jsonl:3: names the document 'd8', which the corpus lacks",
    ]


def test_ids_that_stand_twice_are_refused(tmp_path: Path) -> None:
    documents = [{"docid": "d1", "text": "one"}, {"docid": "d1", "text": "one"}]
    rows = [mldr_row("q1", "?", ["d1"]), mldr_row("q1", "?", ["d1"])]
    write_rows(tmp_path / "corpus.jsonl", documents)
    write_rows(tmp_path / "train.jsonl", rows)
    write_rows(tmp_path / "dev.jsonl", rows[:1])  # the same id in another split is no fault
    assert complaint(tmp_path, "mldr") == [
        "corpus.jsonl:2: id 'd1' stands twice in the corpus; ids must be unique",
        "train.jsonl:2: query id 'q1' stands twice in this split; ids must be unique",
    ]


def test_rows_in_are_rows_out_and_rows_set_aside(tmp_path: Path) -> None:
    good = [mldr_row(f"q{i}", f"question {i}", ["d1"]) for i in range(10)]
    bad = [good[0], mldr_row("q10", "", ["d1"]), mldr_row("q11", "?", []), mldr_row("q12", "?", ["d9"]), {}]
    documents: Rows = [{"docid": "d1", "text": "one"}, {"docid": "d2", "text": ""}, {"docid": "d1", "text": "two"}]
    write_rows(tmp_path / "corpus.jsonl", documents)
    write_rows(tmp_path / "train.jsonl", good[:5] + bad + good[5:])
    got = converted(tmp_path, "mldr", "skip")
    assert [q.id for q in got.questions["train"]] == [f"q{i}" for i in range(10)]
    assert got.documents == {"d1": "one"}
    assert got.counts["rows_skipped"] == len(got.set_aside) == 7
    assert [json.loads(row["row"]) for row in got.set_aside] == documents[1:] + bad
    assert [row["where"].removeprefix(f"{tmp_path}/") for row in got.set_aside] == [
        "corpus.jsonl:2",
        "corpus.jsonl:3",
        *(f"train.jsonl:{n}" for n in range(6, 11)),
    ]


def test_a_split_without_a_usable_row_is_named(tmp_path: Path) -> None:
    write_rows(tmp_path / "train.jsonl", [{"query": "q", "pos_doc": "d"}])
    write_rows(tmp_path / "dev.jsonl", [])
    with pytest.raises(EmbedTuneError, match="the data set has no usable question in its dev split"):
        converted(tmp_path, "pairs")


def test_where_all_rows_were_set_aside_the_message_still_says_what_was_wrong(tmp_path: Path) -> None:
    write_rows(tmp_path / "train.jsonl", [{"query": "", "pos_doc": "d"}])
    with pytest.raises(EmbedTuneError) as caught:  # the file of rows set aside is not kept when the stage fails
        converted(tmp_path, "pairs", "skip")
    assert f"{tmp_path}/train.jsonl:1: 'query' is empty" in str(caught.value)


def test_what_conversion_writes_is_read_back(tmp_path: Path) -> None:
    asked = [
        Query("q1", '一？ "quoted"\n', {"d1": 2, "d2": 0}, [{"docid": "d1", "start": 0, "end": 2}]),
        Query("q2", "\u2028two\t?", {"d2": 1}),
    ]
    write_queries(tmp_path / "queries", "train", asked)
    write_qrels(tmp_path / "qrels", "train", asked)
    assert read_queries(tmp_path / "queries", tmp_path / "qrels", "train") == asked


def test_documents_are_read_back_with_their_places_in_the_file(tmp_path: Path) -> None:
    texts = {"d1": "第一\n行", "d2": "\u2028 two", "d3": "x" * 70_000, "d4": "四"}
    path = tmp_path / "corpus.jsonl"
    with path.open("wb") as file:
        writer = CorpusWriter(file)
        for document, text in texts.items():
            writer.write(document, text)
    read = list(read_corpus(path))
    content = path.read_bytes()
    assert {document.id: document.text for document in read} == texts
    for document in read:
        line = json.loads(content[document.offset : document.offset + document.size])
        assert line == {"_id": document.id, "text": document.text}


@pytest.mark.parametrize(
    ("count", "sizes"),
    [(100, (60, 20, 20)), (10, (6, 2, 2)), (7, (5, 1, 1)), (3, (1, 1, 1)), (1235, (741, 247, 247))],
)
def test_missing_splits_are_carved_by_their_shares(count: int, sizes: tuple[int, int, int]) -> None:
    train = queries(count)
    splits, counts = complete_splits({"train": train}, SHARES, dev_queries=200, seed=1)
    assert tuple(len(splits[split]) for split in SPLITS) == sizes
    assert sorted(q.id for split in SPLITS for q in splits[split]) == sorted(q.id for q in train)
    assert counts == {
        "train_queries": sizes[0],
        "dev_queries": sizes[1],
        "test_queries": sizes[2],
        "dev_queries_from_train": sizes[1],
        "test_queries_from_train": sizes[2],
    }


@pytest.mark.parametrize("missing", ["dev", "test"])
def test_only_the_missing_split_is_carved(missing: str) -> None:
    given = "test" if missing == "dev" else "dev"
    own = queries(300, "own")
    splits, counts = complete_splits({"train": queries(100), given: own}, SHARES, dev_queries=200, seed=1)
    assert splits[given] == own
    assert (len(splits["train"]), len(splits[missing])) == (80, 20)
    assert (counts[f"{given}_queries_from_train"], counts[f"{missing}_queries_from_train"]) == (0, 20)
    assert not {q.id for q in splits["train"]} & {q.id for q in splits[missing]}


@pytest.mark.parametrize(
    ("dev", "wanted", "moved"),
    [(10, 15, 5), (10, 10, 0), (10, 0, 0), (10, 200, 20), (1, 21, 20), (30, 20, 0)],
    ids=["some", "enough", "none-wanted", "capped", "to-the-cap", "more-than-wanted"],
)
def test_a_small_dev_split_is_topped_up_by_its_share_of_train_at_most(dev: int, wanted: int, moved: int) -> None:
    train, own, test = queries(100), queries(dev, "dev"), queries(5, "test")
    splits, counts = complete_splits({"train": train, "dev": own, "test": test}, SHARES, wanted, seed=1)
    assert splits["dev"][:dev] == own and splits["test"] == test
    assert len(splits["dev"]) == dev + moved == counts["dev_queries"]
    assert counts["dev_queries_from_train"] == moved
    together = [q.id for q in splits["train"] + splits["dev"][dev:]]
    assert sorted(together) == sorted(q.id for q in train)


def test_splits_depend_on_the_seed_and_on_nothing_drawn_before() -> None:
    def carved(seed: int) -> dict[str, list[str]]:
        splits, _ = complete_splits({"train": queries(50)}, SHARES, 200, seed)
        return {split: [q.id for q in splits[split]] for split in SPLITS}

    first = carved(1)
    np.random.default_rng(1).random(5)
    np.random.seed(3)
    complete_splits({"train": queries(9)}, SHARES, 200, 1)
    assert carved(1) == first
    assert carved(2) != first
    own_order = {split: sorted(ids, key=lambda query_id: int(query_id[1:])) for split, ids in first.items()}
    assert first == own_order  # questions stay in the data set's order


@pytest.mark.parametrize("count", [1, 2])
def test_too_few_questions_to_carve_from_are_named(count: int) -> None:
    with pytest.raises(EmbedTuneError) as caught:
        complete_splits({"train": queries(count)}, SHARES, 200, 1)
    assert str(caught.value) == (
        f"the train split has {count} questions, too few to carve dev and test from; "
        "add questions, or give the data set splits of its own"
    )


def test_a_question_cannot_move_to_a_split_that_uses_its_id() -> None:
    dev = [Query(f"q{i}", f"another question {i}", {"d1": 1}) for i in range(10)]
    with pytest.raises(EmbedTuneError) as caught:
        complete_splits({"train": queries(10), "dev": dev, "test": queries(3, "t")}, SHARES, 12, 1)
    assert str(caught.value) == (
        "train and dev use the same query ids, so that train's cannot be moved to dev; "
        "rename them, or (for dev) write `dataset.dev_queries: 0`"
    )


@pytest.mark.parametrize("seed", range(10))
def test_a_question_without_an_id_that_dev_asks_too_does_not_stop_the_top_up(tmp_path: Path, seed: int) -> None:
    write_rows(tmp_path / "train.jsonl", [{"query": f"q{i}", "pos_doc": f"d{i}"} for i in range(10)])
    write_rows(tmp_path / "dev.jsonl", [{"query": "q0", "pos_doc": "d0"}])
    questions = converted(tmp_path, "pairs").questions
    splits, _ = complete_splits({**questions, "test": queries(3, "t")}, SHARES, 3, seed)
    assert len({q.id for q in splits["dev"]}) == len(splits["dev"]) == 3


@pytest.mark.parametrize("count", [2, 3, 5, 64])
@pytest.mark.parametrize("seed", range(5))
def test_a_shuffle_leaves_no_question_its_own_documents(count: int, seed: int) -> None:
    asked = queries(count)
    for query in asked:
        query.answers = [{"docid": next(iter(query.judgments)), "start": 0, "end": 1}]
    shuffle_questions(asked, seed)
    assert [q.id for q in asked] == [f"q{i}" for i in range(count)]
    assert all(list(q.judgments) != [f"d{q.id[1:]}"] for q in asked)
    assert sorted(next(iter(q.judgments)) for q in asked) == sorted(f"d{i}" for i in range(count))
    assert all([answer["docid"] for answer in q.answers] == list(q.judgments) for q in asked)


def test_a_shuffle_depends_on_the_seed_alone() -> None:
    def shuffled(seed: int) -> list[str]:
        asked = queries(50)
        shuffle_questions(asked, seed)
        return [next(iter(q.judgments)) for q in asked]

    assert shuffled(1) == shuffled(1) != shuffled(2)


def test_memory_does_not_hold_the_corpus(tmp_path: Path) -> None:
    def documents() -> Iterator[CorpusRow]:
        for i in range(200):
            yield CorpusRow(f"corpus:{i}", b"", f"d{i}", f"{i:100000d}")

    write_rows(tmp_path / "train.jsonl", [mldr_row(f"q{i}", f"question {i}", [f"d{i}"]) for i in range(200)])
    bad_rows = BadRows(None)
    layout = Layout(documents, open_layout(tmp_path, "mldr", "zh", bad_rows).splits)
    with (tmp_path / "corpus.jsonl").open("wb") as file:
        tracemalloc.start()
        _, counts = convert(layout, CorpusWriter(file), bad_rows)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert (tmp_path / "corpus.jsonl").stat().st_size > 20e6 and counts["documents"] == 200
    assert peak < 4e6


@pytest.mark.skipif(not REAL_DATA.is_dir(), reason="the real data sets are not beside this checkout")
@pytest.mark.parametrize(
    ("name", "documents", "sizes", "longest"),
    [
        ("mldr-zh-10", 210, {"train": 10}, 71_034),
        ("stard-laws", 8_686, {"train": 1_235, "dev": 108, "test": 200}, None),
    ],
)
def test_real_data_is_accepted_as_it_is(name: str, documents: int, sizes: dict[str, int], longest: int | None) -> None:
    got = converted(REAL_DATA / name, "mldr")
    assert {split: len(asked) for split, asked in got.questions.items()} == sizes
    assert {
        key: got.counts[key] for key in ("documents", "documents_added", "documents_differing", "rows_skipped")
    } == {"documents": documents, "documents_added": 0, "documents_differing": 0, "rows_skipped": 0}
    if name == "mldr-zh-10":
        assert got.counts["document_characters_max"] == longest
        assert min(len(text) for text in got.documents.values()) == 1_260
        assert {(len(q.relevant()), len(q.negatives())) for q in got.questions["train"]} == {(1, 20)}
    else:
        assert got.counts["document_characters_median"] == 2_359
        asked = Counter(document for qs in got.questions.values() for q in qs for document in q.relevant())
        assert max(asked.values()) == 59
        assert not any(q.negatives() for qs in got.questions.values() for q in qs)
