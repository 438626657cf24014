"""Conversion: every layout gives the same data set, no row is lost without a word, and splits are carved by seed."""

from __future__ import annotations

import json
import tracemalloc
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from embedtune.core.errors import EmbedTuneError
from embedtune.data.convert import CorpusWriter, convert
from embedtune.data.corpus import SPLITS, Query, read_corpus, read_queries, write_qrels, write_queries
from embedtune.data.layouts.opening import open_layout
from embedtune.data.layouts.rows import BadRows, CorpusRow, Layout
from tests.unit.converting import Rows, complaint, converted, mldr_row, write_rows

ROOT = Path(__file__).resolve().parents[2]
REAL_DATA = ROOT.parent / "shared" / "data"
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
        "documents_repeated": 0,
        "documents_differing": 0,
        "document_characters_mean": 4.0,
        "document_characters_median": 2,
        "document_characters_max": 9,
        "rows_merged": 0,
        "rows_skipped": 0,
        "unread_keys": {},
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
    write_rows(tmp_path / "corpus.jsonl", [{"docid": "d1", "text": "one"}, {"docid": "d2", "text": "two"}])
    rows = [mldr_row("q1", "?", ["d1"]), mldr_row("q2", "?", ["d2"])]
    for row, text in zip(rows, ("ONE", "two "), strict=True):
        row["positive_passages"][0]["text"] = text
    write_rows(tmp_path / "train.jsonl", rows)
    got = converted(tmp_path, "mldr")
    assert (got.documents, got.counts["documents_differing"]) == ({"d1": "one", "d2": "two"}, 1)


def test_rows_whose_texts_all_contradict_the_corpus_are_refused(tmp_path: Path) -> None:
    write_rows(tmp_path / "corpus.jsonl", [{"docid": f"d{i}", "text": f"one {i}"} for i in range(3)])
    rows = [mldr_row(f"q{i}", "?", [f"d{i}"]) for i in range(3)]
    for row in rows:
        row["positive_passages"][0]["text"] = "other"
    write_rows(tmp_path / "train.jsonl", rows)
    with pytest.raises(EmbedTuneError) as caught:
        converted(tmp_path, "mldr", "skip")
    assert str(caught.value) == (
        f"{tmp_path}/train.jsonl:1: the text of 'd0' is another in the corpus, and so are all 3 texts that rows give "
        "for its documents; give the corpus that these rows belong to, or leave the texts out of the rows"
    )


@pytest.mark.parametrize("in_corpus", [{"title": "Guide"}, {}], ids=["with-title", "without-title"])
@pytest.mark.parametrize("in_row", [{"title": "Guide"}, {}], ids=["titled-row", "plain-row"])
def test_a_title_is_read_wherever_a_passage_has_one(
    tmp_path: Path, in_corpus: dict[str, str], in_row: dict[str, str]
) -> None:
    """In the corpus and in rows alike; a document with its title and without it is the same document."""
    row = mldr_row("q1", "?", ["d1"], ["d2"])
    for key in ("positive_passages", "negative_passages"):
        row[key][0] |= {"text": "wash the cup", **in_row}
    write_rows(tmp_path / "corpus.jsonl", [{"docid": "d1", "text": "wash the cup", **in_corpus}])
    write_rows(tmp_path / "train.jsonl", [row])
    got = converted(tmp_path, "mldr")
    assert got.documents["d1"] == ("Guide " if in_corpus else "") + "wash the cup"
    assert got.documents["d2"] == ("Guide " if in_row else "") + "wash the cup"
    assert got.counts["documents_differing"] == 0


@pytest.mark.parametrize("ids", [["_id"], ["docid"], []], ids=["beirs-ids", "mldrs-ids", "no-ids"])
@pytest.mark.parametrize("layout_format", ["pairs", "triplets"])
def test_a_corpus_beside_pairs_or_triplets_is_searched_too(tmp_path: Path, layout_format: str, ids: list[str]) -> None:
    """Its documents are known by their texts, with the title or without; what rows bring along beside is added."""
    texts = [{"text": "one"}, {"title": "Two", "text": "two"}, {"title": "Three", "text": "three"}, {"text": "more"}]
    write_rows(tmp_path / "corpus.jsonl", [{**dict.fromkeys(ids, f"d{i}"), **row} for i, row in enumerate(texts)])
    rows = [
        {"query": query, ("pos_doc" if layout_format == "pairs" else "pos"): text}
        for query, text in (("a", " one"), ("b", "two"), ("c", "Three three"), ("d", "five"))
    ]
    write_rows(tmp_path / "my-data.jsonl", rows)  # the only file beside the corpus is train
    got = converted(tmp_path, layout_format)
    assert sorted(got.documents.values()) == ["Three three", "Two two", "five", "more", "one"]
    judged = {"a": {"one": 1}, "b": {"Two two": 1}, "c": {"Three three": 1}, "d": {"five": 1}}
    assert got.by_text("train") == judged
    assert (got.counts["documents"], got.counts["documents_added"]) == (5, 1)
    if ids:
        assert {document for query in got.questions["train"][:3] for document in query.judgments} == {"d0", "d1", "d2"}


def test_texts_that_stand_twice_in_a_corpus_without_ids_are_one_document(tmp_path: Path) -> None:
    write_rows(tmp_path / "corpus.jsonl", [{"text": "one"}, {"text": "two"}, {"text": "one\n"}])
    write_rows(tmp_path / "train.jsonl", [{"query": "q", "pos_doc": "two"}])
    got = converted(tmp_path, "pairs")
    assert (sorted(got.documents.values()), got.counts["documents_repeated"]) == (["one", "two"], 1)


def test_a_refused_row_leaves_none_of_its_documents_in_the_corpus(tmp_path: Path) -> None:
    write_rows(tmp_path / "corpus.jsonl", [{"docid": "d1", "text": "one"}])
    bad = [mldr_row("q2", "?", ["d5"], ["gone"]), mldr_row("q3", "?", ["gone"], ["d6"])]
    bad[0]["positive_passages"][0]["text"], bad[1]["negative_passages"][0]["text"] = "five", "six"
    write_rows(tmp_path / "train.jsonl", [mldr_row("q1", "?", ["d1"]), *bad])
    got = converted(tmp_path, "mldr", "skip")
    assert (got.documents, got.counts["documents_added"], got.counts["rows_skipped"]) == ({"d1": "one"}, 0, 2)


def test_keys_that_are_not_read_are_counted(tmp_path: Path) -> None:
    rows = [{"query": f"q{i}", "pos": ["a"], "prompt": "p" * (i % 2), "type": None} for i in range(6)]
    write_rows(tmp_path / "triplets" / "train.jsonl", rows)
    assert converted(tmp_path / "triplets", "triplets").counts["unread_keys"] == {"prompt": 3}
    row = mldr_row("q1", "?", ["d1"])
    row["positive_passages"][0] |= {"url": "u"}
    write_rows(tmp_path / "mldr" / "corpus.jsonl", [{"docid": "d1", "text": "one", "year": 1, "metadata": {"a": 1}}])
    write_rows(tmp_path / "mldr" / "train.jsonl", [row | {"lang": "en"}])
    expected = {"corpus: year": 1, "lang": 1, "positive_passages: url": 1}
    assert converted(tmp_path / "mldr", "mldr").counts["unread_keys"] == expected


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
