"""The generated data set: seeded, in MLDR's layout, answerable, and not to be solved by matching words alone."""

from __future__ import annotations

import itertools
import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import yaml

from embedtune.core.errors import EmbedTuneError
from embedtune.core.json_files import read_lines
from embedtune.data.layouts.opening import open_layout
from embedtune.data.layouts.rows import BadRows
from embedtune.data.sample import phrases
from embedtune.data.sample.corpus import FACTS_PER_DOCUMENT, write_sample

ROOT = Path(__file__).resolve().parents[2]
SHIPPED = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))["dataset"]["sample"]
SPLITS = ("train", "dev", "test")
SMALL = {"train": 60, "dev": 20, "test": 40}
PLACE = f"[{phrases.PLACE_FIRST}][{phrases.PLACE_SECOND}](?:{'|'.join(phrases.PLACE_KINDS)})"

Rows = list[dict[str, Any]]


def generate(target: Path, documents: int = 20, queries: dict[str, int] | None = None, seed: int = 3) -> Path:
    target.mkdir()
    write_sample(target, documents, queries or SMALL, seed)
    return target / "mldr-v1.0-zh"


def content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def rows(folder: Path, name: str) -> Rows:
    return [json.loads(line) for _, line in read_lines(folder / f"{name}.jsonl.gz")]


@pytest.fixture(scope="module", params=[42, 1])
def shipped(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sample of the shipped size, with the shipped seed and another."""
    sizes = {split: SHIPPED[f"{split}_queries"] for split in SPLITS}
    return generate(tmp_path_factory.mktemp("sample") / "raw", SHIPPED["documents"], sizes, request.param)


def place_of(question: str) -> str:
    places = re.findall(PLACE, question)
    assert len(places) == 1, question
    return str(places[0])


def topic_of(question: str) -> int:
    worded = question.replace(place_of(question), "{place}")
    topics = [i for i, (questions, _) in enumerate(phrases.TOPICS) if worded in questions]
    assert len(topics) == 1, question
    return topics[0]


def answer_of(row: dict[str, Any]) -> str:
    (answer,), (passage,) = row["answers"], row["positive_passages"]
    assert answer["docid"] == passage["docid"]
    text: str = passage["text"][answer["start"] : answer["end"]]
    assert len(text) == answer["end"] - answer["start"]
    return text


def test_the_same_seed_gives_the_same_bytes_and_another_seed_others(tmp_path: Path) -> None:
    first, again, other = (content(generate(tmp_path / name, seed=s)) for name, s in (("a", 3), ("b", 3), ("c", 4)))
    assert list(first) == ["corpus.jsonl.gz", "dev.jsonl.gz", "test.jsonl.gz", "train.jsonl.gz"]
    assert first == again
    assert all(first[name] != other[name] for name in first)


def test_more_test_questions_change_no_document_and_no_training_question(tmp_path: Path) -> None:
    first = content(generate(tmp_path / "a"))
    second = content(generate(tmp_path / "b", queries={**SMALL, "test": 41}))
    assert [name for name in first if first[name] != second[name]] == ["test.jsonl.gz"]


def test_the_sample_is_in_the_layout_of_mldr(tmp_path: Path) -> None:
    generate(tmp_path / "raw")
    bad_rows = BadRows(None)
    layout = open_layout(tmp_path / "raw", "mldr", "zh", bad_rows)
    documents = {row.id: row.text for row in layout.corpus()}
    assert len(documents) == 20
    for split, size in SMALL.items():
        questions = list(layout.splits[split]())
        assert len({question.id for question in questions}) == len(questions) == size
        for question in questions:
            positive, *negatives = question.passages
            assert (positive.relevance, [passage.relevance for passage in negatives]) == (1, [0, 0])
            assert len({passage.id for passage in question.passages}) == 3
            assert all(documents[str(passage.id)] == passage.text for passage in question.passages)
    bad_rows.raise_if_fatal()


def test_an_answer_names_the_place_and_words_the_topic_of_its_question(shipped: Path) -> None:
    for row in itertools.chain.from_iterable(rows(shipped, split) for split in SPLITS):
        answer, place = answer_of(row), place_of(row["query"])
        _, statements = phrases.TOPICS[topic_of(row["query"])]
        blanks = {"{n}": r"\d+", "{name}": "..", "{thing}": f"(?:{'|'.join(phrases.THINGS)})", "{place}": place}
        patterns = [re.escape(statement) for statement in statements]
        for blank, pattern in blanks.items():
            patterns = [text.replace(re.escape(blank), pattern) for text in patterns]
        assert any(re.fullmatch(pattern, answer) for pattern in patterns), (row["query"], answer)


def test_no_fact_is_asked_twice_in_any_split(shipped: Path) -> None:
    asked = [(place_of(row["query"]), topic_of(row["query"])) for split in SPLITS for row in rows(shipped, split)]
    spans = [tuple(row["answers"][0].values()) for split in SPLITS for row in rows(shipped, split)]
    assert len(asked) == sum(SHIPPED[f"{split}_queries"] for split in SPLITS)
    assert Counter(asked).most_common(1)[0][1] == 1
    assert Counter(spans).most_common(1)[0][1] == 1


def test_one_document_alone_states_a_fact(tmp_path: Path) -> None:
    folder = generate(tmp_path / "raw", documents=40)
    texts = {row["docid"]: row["text"] for row in rows(folder, "corpus")}
    for row in rows(folder, "test"):
        _, statements = phrases.TOPICS[topic_of(row["query"])]
        stems = [re.split(r"\{(?!place)\w+\}", statement) for statement in statements]
        pattern = "|".join(
            ".{1,4}?".join(re.escape(part.replace("{place}", place_of(row["query"]))) for part in stem)
            for stem in stems
        )
        stating = [docid for docid, text in texts.items() for _ in re.finditer(pattern, text)]
        assert stating == [row["positive_passages"][0]["docid"]], row["query"]


def test_every_place_stands_in_thirty_documents_and_more(shipped: Path) -> None:
    documents = [set(re.findall(PLACE, row["text"])) for row in rows(shipped, "corpus")]
    count = Counter(place for places in documents for place in places)
    assert len(count) == SHIPPED["documents"] * FACTS_PER_DOCUMENT / len(phrases.TOPICS)
    assert min(count.values()) >= 30
    assert {place_of(row["query"]) for split in SPLITS for row in rows(shipped, split)} <= set(count)


def test_documents_are_long_and_their_answers_stand_anywhere(shipped: Path) -> None:
    texts = [row["text"] for row in rows(shipped, "corpus")]
    assert min(len(text) for text in texts) > 1_000
    assert 1_800 < sum(map(len, texts)) / len(texts) < 2_500
    places = [row["answers"][0]["start"] / len(row["positive_passages"][0]["text"]) for row in rows(shipped, "train")]
    quarters = Counter(int(4 * place) for place in places)
    assert all(quarters[quarter] > 0.15 * len(places) for quarter in range(4))
    assert sum(row["answers"][0]["start"] < 62 for row in rows(shipped, "test")) == 0  # never in a head of 64 tokens


def characters(sentence: str) -> set[str]:
    """The Chinese characters of a sentence of the table, blanks left out."""
    return set(re.findall(r"[\u4e00-\u9fff]", re.sub(r"\{\w+\}", "", sentence)))


def test_a_question_and_its_statement_share_next_to_no_characters() -> None:
    shared = {
        (question, statement): characters(question) & characters(statement)
        for questions, statements in phrases.TOPICS
        for question in questions
        for statement in statements
    }
    assert max(len(common) for common in shared.values()) <= 2
    assert sum(len(common) for common in shared.values()) / len(shared) < 0.2
    assert not [pair for pair, common in shared.items() if len(common) > 0.5 * len(characters(pair[0]))]


def test_a_topic_is_worded_in_one_way_only() -> None:
    questions = [question for questions, _ in phrases.TOPICS for question in questions]
    statements = [statement for _, statements in phrases.TOPICS for statement in statements]
    assert len(phrases.TOPICS) == 40
    for sentences in (questions, statements):
        assert len(set(sentences)) == len(sentences)
        assert all(sentence.count("{place}") == 1 for sentence in sentences)
    assert all(re.findall(r"\{(\w+)\}", question) == ["place"] for question in questions)
    assert all(set(re.findall(r"\{(\w+)\}", text)) <= {"place", "n", "name", "thing"} for text in statements)


def test_no_name_stands_twice_in_the_tables() -> None:
    tables = (phrases.PLACE_FIRST, phrases.PLACE_SECOND, phrases.PLACE_KINDS, phrases.SURNAMES, phrases.GIVEN)
    for table in (*tables, phrases.THINGS, phrases.MENTIONS, phrases.FILLERS):
        assert len(set(table)) == len(table)


@pytest.mark.parametrize(("questions", "needed"), [(121, 11), (132, 11), (133, 12), (1600, 134)])
def test_too_few_documents_are_named_with_how_many_are_needed(tmp_path: Path, questions: int, needed: int) -> None:
    with pytest.raises(EmbedTuneError) as caught:
        generate(tmp_path / "raw", documents=10, queries={"train": questions - 2, "dev": 1, "test": 1})
    assert str(caught.value) == (
        f"documents: {questions} questions need at least {needed} documents (12 facts each), got 10"
    )
    assert list((tmp_path / "raw").iterdir()) == []


def test_every_fact_may_be_asked(tmp_path: Path) -> None:
    folder = generate(tmp_path / "raw", documents=10, queries={"train": 100, "dev": 10, "test": 10})
    assert sum(len(rows(folder, split)) for split in SPLITS) == 120


def test_more_documents_than_there_are_names_for_are_refused(tmp_path: Path) -> None:
    with pytest.raises(EmbedTuneError) as caught:
        generate(tmp_path / "raw", documents=40_000)
    names = len(phrases.PLACE_FIRST) * len(phrases.PLACE_SECOND) * len(phrases.PLACE_KINDS)
    assert str(caught.value) == f"documents: the sample has names for {names} places only, got 40000"
