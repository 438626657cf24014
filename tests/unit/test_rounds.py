"""How far rounds are from each other, by hand; the rules of `rounds` in params.yaml."""

from __future__ import annotations

from pathlib import Path

import pytest

from embedtune.comparison.rounds import rounds_table
from embedtune.core.json_files import write_json_lines
from tests.unit.parameters import complaint_about


def write_run(path: Path, rankings: dict[str, list[str]]) -> None:
    lines = [
        f"{query} Q0 {document} {rank} {1 / rank} x"
        for query, documents in rankings.items()
        for rank, document in enumerate(documents, start=1)
    ]
    path.parent.mkdir()
    path.write_text("\n".join(lines) + "\n")


def test_what_is_kept_from_one_round_to_the_next(tmp_path: Path) -> None:
    ten = [f"d{i}" for i in range(10)]
    write_run(tmp_path / "base" / "run.trec", {"a": [*ten, "later"], "b": ten})
    write_run(tmp_path / "finetuned" / "run.trec", {"a": ["new", *ten[:9], "later"], "b": ten[::-1]})
    write_run(tmp_path / "round2" / "run.trec", {"a": ["x"], "b": ["d1", "y"]})
    write_json_lines(tmp_path / "finetuned.jsonl", [{"query_id": "a", "neg_passages": [1, 2]}])
    rows = [{"query_id": "a", "neg_passages": [2, 3]}, {"query_id": "b", "neg_passages": [1, 2]}]
    write_json_lines(tmp_path / "round2.jsonl", rows)
    table = rounds_table({"finetuned": "base", "round2": "finetuned"}, tmp_path, tmp_path)
    assert table == {
        "finetuned": {"top10_kept": pytest.approx((0.9 + 1) / 2)},
        "round2": {"top10_kept": pytest.approx((0 + 0.5) / 2), "negatives_kept": pytest.approx(1 / 4)},
    }


def test_a_question_that_an_approximate_index_finds_nothing_for_keeps_nothing(tmp_path: Path) -> None:
    write_run(tmp_path / "base" / "run.trec", {"a": ["x", "y"], "c": ["z"]})
    write_run(tmp_path / "finetuned" / "run.trec", {"a": ["y", "x"], "b": ["x"]})
    assert rounds_table({"finetuned": "base"}, tmp_path, tmp_path) == {"finetuned": {"top10_kept": 0.5}}


FINETUNED = "{from: base, teacher: none}"


@pytest.mark.parametrize(
    ("rounds", "message"),
    [
        (
            f"{{finetuned: {{from: round2, teacher: none}}, round2: {FINETUNED}}}",
            "rounds.finetuned.from: expected base or an earlier round (base), got round2",
        ),
        (
            f"{{finetuned: {FINETUNED}, bm25: {{from: finetuned, teacher: none}}}}",
            "rounds.bm25: bm25 is the name of another system; choose another",
        ),
        (
            "{finetuned: {from: base}}",
            "rounds.finetuned.teacher: missing; add it with none, dataset, or the name of one of rerankers",
        ),
        (
            "{finetuned: {form: base, teacher: none}}",
            "rounds.finetuned.from: missing; add it with a text\n"
            "params.yaml: rounds.finetuned.form: unknown key; did you mean 'from'?",
        ),
        (
            "{}",
            "rounds: expected rounds in lower case, such as {finetuned: {from: base, teacher: none}}, got {}",
        ),
    ],
)
def test_a_round_starts_from_an_earlier_model(tmp_path: Path, rounds: str, message: str) -> None:
    assert complaint_about(tmp_path, {"rounds": rounds}) == f"params.yaml: {message}"
