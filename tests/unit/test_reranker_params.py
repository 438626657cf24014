"""params.yaml: rerankers and teachers, the circles that they could close, and what a cross-encoder trains with."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import pytest

from embedtune.config.reading import load_params
from embedtune.config.recipe import FilledRerank, rerank_max_len, rerank_settings
from embedtune.config.schema import Params
from tests.unit.parameters import complaint_about, edited

TRAINED = {
    "from": "finetuned",
    "model": "none",
    "path": "models/none",
    "revision": "main",
    "candidates": "hybrid_scores",
    "depth": "20",
    "passages": "1",
    "rows": "mined",
    "objective": "listwise",
}
READY = TRAINED | {"from": "none", "model": "BAAI/bge-reranker-base", "candidates": "bm25", "objective": "none"}
TEACHER = TRAINED | {"from": "base", "candidates": "bm25"}
Edits = dict[str, str | None]


def flow(entries: dict[str, Any]) -> str:
    """A section as a user types it on one line."""
    values = ", ".join(f"{key}: {flow(v) if isinstance(v, dict) else v}" for key, v in entries.items())
    return f"{{{values}}}"


def with_reranker(entry: dict[str, str], edits: Edits | None = None, **changed: str) -> Edits:
    return {"rerankers": flow({"reranked": entry | changed})} | (edits or {})


def params(tmp_path: Path, edits: Edits) -> Params:
    return load_params(edited(tmp_path / "params.yaml", edits))


VALID = {
    "trained": with_reranker(TRAINED),
    "ready": with_reranker(READY),
    "ready-and-trained": with_reranker(READY, objective="bce"),
    "of-a-directory": with_reranker(READY, model="local", path="models/mine"),
    "of-base-over-base": with_reranker(TRAINED, **{"from": "base", "candidates": "base"}),
    "over-the-model-that-it-is-made-of": with_reranker(TRAINED, candidates="finetuned"),
    "over-a-mixture": with_reranker(
        TRAINED, {"mixtures": "{mixed: {model: finetuned, weights: [0, 1]}}"}, candidates="mixed", **{"from": "mixed"}
    ),
    "as-deep-as-the-ranking": with_reranker(TRAINED, depth="1000"),
    "as-deep-as-a-cutoff": with_reranker(TRAINED, {"evaluate.depth": "50"}, depth="100"),
    "judged-without-negatives": with_reranker(TRAINED, {"mine.negatives": "0"}, rows="judged"),
    "ready-without-negatives": with_reranker(READY, {"mine.negatives": "0"}),
    "group-of-all-negatives": with_reranker(TRAINED, {"rerank.train_group_size": "11"}),
    "larger-group-of-judged": with_reranker(TRAINED, {"rerank.train_group_size": "30"}, rows="judged"),
    "teacher": with_reranker(TEACHER, {"rounds": "{finetuned: {from: base, teacher: reranked}}"}),
}


@pytest.mark.parametrize("edits", VALID.values(), ids=VALID)
def test_a_reranker_that_can_work_is_accepted(tmp_path: Path, edits: Edits) -> None:
    params(tmp_path, edits)


def test_a_reranker_is_read_as_it_is_written_and_is_a_system(tmp_path: Path) -> None:
    systems = {"systems": "[bm25, reranked]", "release": "{system: reranked, baseline: bm25}"}
    entry = params(tmp_path, with_reranker(TRAINED, systems)).rerankers["reranked"]
    assert entry.model_dump(by_alias=True) == TRAINED | {"depth": 20, "passages": 1}


MODELS, SYSTEMS = "base, finetuned", "base, finetuned, bm25, hybrid_ranks, hybrid_scores"
REFUSED = {
    "unknown-start": (
        with_reranker(TRAINED, **{"from": "finetuned2"}),
        f"rerankers.reranked.from: expected none or an embedding model ({MODELS}), got finetuned2",
    ),
    "bm25-has-no-weights": (
        with_reranker(TRAINED, **{"from": "bm25"}),
        f"rerankers.reranked.from: expected none or an embedding model ({MODELS}), got bm25",
    ),
    "neither-model": (
        with_reranker(TRAINED, **{"from": "none"}),
        "rerankers.reranked.model: expected a hub id or local beside `from: none`, or none beside an embedding model, "
        "got none beside `from: none`",
    ),
    "two-models": (
        with_reranker(TRAINED, model="BAAI/bge-reranker-base"),
        "rerankers.reranked.model: expected a hub id or local beside `from: none`, or none beside an embedding model, "
        "got BAAI/bge-reranker-base beside `from: finetuned`",
    ),
    "no-hub-id": (
        with_reranker(READY, model="bge-reranker-base"),
        "rerankers.reranked.model: expected none, local (the directory in rerankers.reranked.path) or a hub id, got "
        "'bge-reranker-base'",
    ),
    "a-directory-as-model": (
        with_reranker(READY, model="./models/mine"),
        "rerankers.reranked.model: expected none, local (the directory in rerankers.reranked.path) or a hub id, got "
        "'./models/mine'",
    ),
    "a-path-of-three-parts": (
        with_reranker(READY, model="models/mine/reranker"),
        "rerankers.reranked.model: expected none, local (the directory in rerankers.reranked.path) or a hub id, got "
        "'models/mine/reranker'",
    ),
    "untrained-head": (
        with_reranker(TRAINED, objective="none"),
        "rerankers.reranked.objective: none is for a ready `model`; a new head on finetuned has to be trained",
    ),
    "unknown-candidates": (
        with_reranker(TRAINED, candidates="hybrid"),
        f"rerankers.reranked.candidates: expected one of {SYSTEMS}, got hybrid",
    ),
    "a-reranker-of-itself": (
        with_reranker(TRAINED, candidates="reranked"),
        f"rerankers.reranked.candidates: expected one of {SYSTEMS}, got reranked\n"
        "params.yaml: rounds: these wait for each other: reranked <- reranked; take one of them out of the circle",
    ),
    "a-reranker-of-a-reranker": (
        {"rerankers": flow({"first": READY, "second": TRAINED | {"candidates": "first"}})},
        f"rerankers.second.candidates: expected one of {SYSTEMS}, got first",
    ),
    "too-deep": (
        with_reranker(TRAINED, depth="1001"),
        "rerankers.reranked.depth: expected at most evaluate.depth (1000), got 1001",
    ),
    "nothing-mined": (
        with_reranker(TRAINED, {"mine.negatives": "0"}),
        "rerankers.reranked.rows: mined rows need mine.negatives of 1 or more, got 0; raise it, or write judged",
    ),
    "larger-group-than-mined": (
        with_reranker(TRAINED, {"rerank.train_group_size": "12"}),
        "rerank.train_group_size: expected at most mine.negatives + 1 (11), got 12",
    ),
    "name-of-a-round": (
        {"rerankers": flow({"finetuned": READY})},
        "rerankers.finetuned: finetuned is the name of another system; choose another",
    ),
    "name-of-a-fusion": (
        {"rerankers": flow({"hybrid_ranks": READY})},
        "rerankers.hybrid_ranks: hybrid_ranks is the name of another system; choose another",
    ),
    "name-of-a-directory": (
        {"rerankers": flow({"reranker_bases": READY})},
        "rerankers.reranker_bases: reranker_bases is the name of another system; choose another",
    ),
    "unknown-teacher": (
        with_reranker(READY, {"rounds.finetuned.teacher": "reranker"}),
        "rounds.finetuned.teacher: expected none, dataset or one of rerankers (none, dataset, reranked), got reranker",
    ),
    "an-embedding-model-as-teacher": (
        {"rounds.finetuned.teacher": "base"},
        "rounds.finetuned.teacher: expected none, dataset or one of rerankers (none, dataset), got base",
    ),
    "teacher-of-an-objective-on-pairs": (
        with_reranker(READY, {"rounds.finetuned.teacher": "reranked", "train.objective": "cosent"}),
        "rounds.finetuned.teacher: expected none with train.objective: cosent, got reranked",
    ),
    "teacher-of-single-passages": (
        with_reranker(READY, {"rounds.finetuned.teacher": "reranked", "train.train_group_size": "1"}),
        "rounds.finetuned.teacher: expected none with groups of 1 passage, where there is nothing to score, got "
        "reranked",
    ),
    "positives-without-a-teacher": (
        {"mine.positive_passage": "teacher"},
        "mine.positive_passage: teacher needs one of rerankers, and rounds.finetuned.teacher is none",
    ),
}


@pytest.mark.parametrize(("edits", "message"), REFUSED.values(), ids=REFUSED)
def test_a_reranker_or_a_teacher_that_cannot_work_is_refused(tmp_path: Path, edits: Edits, message: str) -> None:
    assert complaint_about(tmp_path, edits) == f"params.yaml: {message}"


@pytest.mark.parametrize(
    ("changed", "what"),
    [
        ({"objective": "rank"}, "objective: expected one of listwise, pairwise, mse, bce, none, got 'rank'"),
        ({"rows": "all"}, "rows: expected one of mined, judged, got 'all'"),
        ({"depth": "0"}, "depth: expected a whole number of 1 or more, got 0"),
        ({"passages": "0"}, "passages: expected a whole number of 1 or more, got 0"),
        ({"form": "base"}, "form: unknown key; did you mean 'from'?"),
    ],
)
def test_a_wrong_value_of_a_reranker_is_named(tmp_path: Path, changed: dict[str, str], what: str) -> None:
    assert complaint_about(tmp_path, with_reranker(TRAINED, **changed)).startswith(
        f"params.yaml: rerankers.reranked.{what}"
    )


@pytest.mark.parametrize("key", TRAINED)
def test_every_key_of_a_reranker_has_to_be_there(tmp_path: Path, key: str) -> None:
    entry = {name: value for name, value in TRAINED.items() if name != key}
    assert f"rerankers.reranked.{key}: missing" in complaint_about(tmp_path, with_reranker(entry))


ROUND = "{finetuned: {from: base, teacher: reranked}}"
CIRCLES = {
    "made-of-what-it-teaches": with_reranker(TEACHER, {"rounds": ROUND}, **{"from": "finetuned"}),
    "over-what-it-teaches": with_reranker(TEACHER, {"rounds": ROUND}, candidates="finetuned"),
    "over-a-fusion-of-what-it-teaches": with_reranker(TEACHER, {"rounds": ROUND}, candidates="hybrid_ranks"),
    "made-of-a-mixture-of-what-it-teaches": with_reranker(
        TEACHER, {"rounds": ROUND, "mixtures": "{mixed: {model: finetuned, weights: [1]}}"}, **{"from": "mixed"}
    ),
    "made-of-a-later-round": with_reranker(
        TEACHER,
        {"rounds": "{finetuned: {from: base, teacher: reranked}, second: {from: finetuned, teacher: none}}"},
        **{"from": "second"},
    ),
}
MEMBERS = {
    "made-of-what-it-teaches": ["finetuned", "reranked"],
    "over-what-it-teaches": ["finetuned", "reranked"],
    "over-a-fusion-of-what-it-teaches": ["finetuned", "hybrid_ranks", "reranked"],
    "made-of-a-mixture-of-what-it-teaches": ["finetuned", "mixed", "reranked"],
    "made-of-a-later-round": ["finetuned", "reranked", "second"],
}


@pytest.mark.parametrize("name", CIRCLES)
def test_systems_that_wait_for_each_other_are_named(tmp_path: Path, name: str) -> None:
    """Each one before the arrow is what the one after it waits for; the first one stands at both ends."""
    before, circle = complaint_about(tmp_path, CIRCLES[name]).split(": these wait for each other: ")
    assert before == "params.yaml: rounds"
    assert circle.endswith("; take one of them out of the circle")
    named = circle.split("; ")[0].split(" <- ")
    assert named[0] == named[-1]
    assert sorted(named[1:]) == MEMBERS[name]
    waits = {
        "reranked": {"finetuned", "hybrid_ranks", "mixed", "second"},
        "finetuned": {"reranked"},
        "hybrid_ranks": {"finetuned"},
        "mixed": {"finetuned"},
        "second": {"finetuned"},
    }
    assert all(one in waits[other] for one, other in itertools.pairwise(named))


def test_a_teacher_of_a_later_round_may_be_made_of_an_earlier_one(tmp_path: Path) -> None:
    rounds = "{finetuned: {from: base, teacher: none}, second: {from: finetuned, teacher: reranked}}"
    params(tmp_path, with_reranker(TRAINED, {"rounds": rounds}))


def test_the_old_section_and_the_old_positives_are_told_by_their_new_names(tmp_path: Path) -> None:
    edits: Edits = {"reranker": "{name: BAAI/bge-reranker-base, max_len: 512}", "mine.positive_passage": "reranker"}
    edits["rounds.finetuned.teacher"] = "reranked"
    assert complaint_about(tmp_path, with_reranker(READY, edits)).split("\n") == [
        "params.yaml: reranker: gone; a ready cross-encoder is an entry of `rerankers` with `objective: none` "
        "(docs/rerankers.md), and `rounds.<name>.teacher` names the one that chooses a round's positives",
        "params.yaml: mine.positive_passage: reranker is called teacher now; name one of `rerankers` in "
        "`rounds.<name>.teacher`",
    ]


def test_a_round_that_is_a_name_alone_is_told_its_new_form(tmp_path: Path) -> None:
    assert complaint_about(tmp_path, {"rounds": "{finetuned: base}"}) == (
        "params.yaml: rounds.finetuned: is a section now; write finetuned: {from: base, teacher: none}"
    )


def settings(found: Params, questions: int = 1000, longest: int = 512) -> dict[str, Any]:
    return rerank_settings(found, found.rerankers["reranked"], questions, longest)


def values(found: Params, questions: int = 1000, longest: int = 512) -> FilledRerank:
    return FilledRerank(**{key: setting.value for key, setting in settings(found, questions, longest).items()})


@pytest.mark.parametrize("method", ["full", "lora"])
def test_a_new_head_on_weights_that_know_nothing_learns_fast_and_a_ready_model_gently(
    tmp_path: Path, method: str
) -> None:
    """The sample's own model trains from scratch; a ready cross-encoder does not, whatever the base model is."""
    fast = values(params(tmp_path, with_reranker(TRAINED, {"rerank.method": method})))
    expected = (1e-3 if method == "full" else 1e-2, 8, None, "own")
    assert (fast.learning_rate, fast.num_train_epochs, fast.early_stopping_patience, fast.attention_dropout) == expected
    for edits in (
        with_reranker(TRAINED, {"rerank.method": method, "model.name": "local"}),
        with_reranker(READY, {"rerank.method": method}, objective="listwise"),
    ):
        gentle = values(params(tmp_path, edits))
        assert gentle.learning_rate == (5e-5 if method == "full" else 2e-4)
        assert (gentle.early_stopping_patience, gentle.attention_dropout) == (2, 0.0)
        assert settings(params(tmp_path, edits))["learning_rate"].source == "recipe pretrained"
    for found in (fast, gentle):
        assert (found.per_device_train_batch_size, found.train_group_size, found.warmup_ratio) == (16, 8, 0.1)


def test_each_value_that_nobody_wrote_is_the_recipes(tmp_path: Path) -> None:
    found = settings(params(tmp_path, with_reranker(TRAINED)))
    assert found.keys() == set(FilledRerank.model_fields)
    assert {setting.source for setting in found.values()} == {"recipe from_scratch"}


@pytest.mark.parametrize(("name", "entry"), [("sample", TRAINED), ("local", TRAINED), ("sample", READY)])
def test_what_a_person_writes_wins_and_is_told(tmp_path: Path, name: str, entry: dict[str, str]) -> None:
    written: dict[str, Any] = {
        "learning_rate": 3e-4,
        "num_train_epochs": 3,
        "per_device_train_batch_size": 5,
        "train_group_size": 4,
        "warmup_ratio": 0.0,
        "eval_steps": 7,
        "early_stopping_patience": 9,
        "max_len": 77,
    }
    edits = {f"rerank.{key}": str(value) for key, value in written.items()}
    edits |= {"model.name": name, "train.attention_dropout": "0.2"}
    found = settings(params(tmp_path, with_reranker(entry, edits, objective="pairwise")))
    assert {key: setting.value for key, setting in found.items()} == written | {"attention_dropout": 0.2}
    assert {setting.source for setting in found.values()} == {"params.yaml"}


def test_a_warm_up_of_none_and_patience_without_end_are_values(tmp_path: Path) -> None:
    edits = {"rerank.warmup_ratio": "0", "rerank.early_stopping_patience": "never", "model.name": "local"}
    found = settings(params(tmp_path, with_reranker(TRAINED, edits)))
    assert found["warmup_ratio"] == (0.0, "params.yaml")
    assert found["early_stopping_patience"] == (None, "params.yaml")


@pytest.mark.parametrize(
    ("questions", "batch", "epochs"), [(5, 2, 4), (20, 8, 4), (200, 16, 4), (800, 16, 2), (5000, 16, 1)]
)
def test_few_questions_have_small_batches_and_more_epochs(
    tmp_path: Path, questions: int, batch: int, epochs: int
) -> None:
    found = values(params(tmp_path, with_reranker(READY, objective="listwise")), questions)
    assert (found.per_device_train_batch_size, found.num_train_epochs) == (batch, epochs)
    steps = questions // batch * epochs
    assert steps / found.eval_steps <= 4, "four evaluations at most"


def test_accumulated_batches_make_fewer_steps(tmp_path: Path) -> None:
    """1,600 questions in steps of four batches of 16: 25 steps an epoch, four epochs for 100."""
    edits: Edits = {"train.gradient_accumulation_steps": "4", "model.name": "local"}
    found = values(params(tmp_path, with_reranker(TRAINED, edits)), 1600)
    assert (found.num_train_epochs, found.eval_steps) == (4, 25)


@pytest.mark.parametrize(
    ("rows", "negatives", "group"),
    [("mined", 10, 8), ("mined", 7, 8), ("mined", 3, 4), ("judged", 3, 8), ("judged", 0, 8)],
)
def test_a_group_is_no_larger_than_what_is_mined(tmp_path: Path, rows: str, negatives: int, group: int) -> None:
    edits = with_reranker(TRAINED, {"mine.negatives": str(negatives)}, rows=rows)
    assert values(params(tmp_path, edits)).train_group_size == group


def test_pairs_are_as_long_as_question_and_passage_and_no_longer_than_the_model_reads(tmp_path: Path) -> None:
    shipped = params(tmp_path, with_reranker(TRAINED))
    assert (rerank_max_len(shipped, 512), values(shipped).max_len) == (128, 128)
    assert (rerank_max_len(shipped, 100), values(shipped, longest=100).max_len) == (100, 100)
    written = params(tmp_path, with_reranker(TRAINED, {"rerank.max_len": "600"}))
    assert rerank_max_len(written, 512) == 600, "what is written is refused where the model is loaded"
