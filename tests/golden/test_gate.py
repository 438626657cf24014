"""The gate: bounds against theory and simulation, guards, slices, and messages that lead to params.yaml's line."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import scipy.stats

from embedtune.commands import gate as gate_command
from embedtune.comparison import gate
from embedtune.comparison.choice import Choice, choose
from embedtune.comparison.gate import Rule
from embedtune.comparison.significance import Resampling
from embedtune.config import paths
from embedtune.core import json_files
from embedtune.core.errors import EmbedTuneError

Capture = pytest.CaptureFixture[str]
SPLITS = ("train", "dev", "test")
RESAMPLING = Resampling(confidence=0.95, resamples=20_000, seed=3)
QUESTIONS = [f"q{i}" for i in range(200)]
GROUPS = pd.DataFrame(
    {"query_length": ["0-10" if i % 4 else "10-20" for i in range(200)]}, index=pd.Index(QUESTIONS, name="query_id")
)


def scores(values: np.ndarray) -> pd.DataFrame:
    index = pd.Index(QUESTIONS, name="query_id")
    return pd.DataFrame({"ndcg@10": values, "recall@10": values.round()}, index=index)


@pytest.fixture(scope="module")
def systems() -> tuple[pd.DataFrame, pd.DataFrame]:
    """A base, and a system that is .1 better; questions of 10 to 20 characters lose."""
    rng = np.random.default_rng(0)
    base = rng.random(200) * 0.5
    gains = np.where(GROUPS["query_length"] == "10-20", -0.1, 0.2) + 0.2 * rng.standard_normal(200)
    return scores(base), scores(base + gains)


def chosen(gain: float = 1.0) -> Choice:
    """What dev chose, where the system is so much better there."""
    return choose("finetuned", "base", np.array([gain, gain + 0.1]), np.zeros(2), "ndcg@10")


def judged(rules: dict[str, Rule], base: pd.DataFrame, tuned: pd.DataFrame) -> gate.Verdict:
    return gate.judge(rules, chosen(), tuned, base, GROUPS, RESAMPLING, "test")


def rule(min_gain: float, confidence: float = 0.95) -> Rule:
    return Rule(min_gain=min_gain, confidence=confidence)


@pytest.mark.parametrize("confidence", [0.8, 0.95, 0.99])
def test_the_bound_is_one_sided(systems: tuple[pd.DataFrame, pd.DataFrame], confidence: float) -> None:
    base, tuned = systems
    found = judged({"ndcg@10": rule(0.0, confidence)}, base, tuned)
    gains = tuned["ndcg@10"] - base["ndcg@10"]
    outcome = found["rules"]["ndcg@10"]
    assert outcome["gain"] == pytest.approx(gains.mean())
    normal = gains.mean() - scipy.stats.norm.ppf(confidence) * scipy.stats.sem(gains)
    one_more = (gains.mean() + 1) / (len(gains) + 1)  # a question that loses everything
    assert normal - 2 * one_more < outcome["at_least"] < normal
    assert (found["passed"], outcome["questions"]) == (True, 200)


def test_what_is_not_shown_is_stopped_and_guards_let_a_small_loss_pass(
    systems: tuple[pd.DataFrame, pd.DataFrame],
) -> None:
    base, tuned = systems
    name = "ndcg@10 in query_length=10-20"
    rules = {"ndcg@10": rule(0.05), "recall@10": rule(-0.9), name: rule(-0.05), f"{name} ": rule(-0.5)}
    found = judged(rules, base, tuned)
    assert [outcome["passed"] for outcome in found["rules"].values()] == [True, True, False, True]
    assert not found["passed"]
    chosen = GROUPS["query_length"] == "10-20"
    assert found["rules"][name]["gain"] == pytest.approx((tuned["ndcg@10"] - base["ndcg@10"])[chosen].mean())
    assert found["rules"][name]["questions"] == 50


def test_where_dev_chose_the_baseline_the_gate_is_shut(systems: tuple[pd.DataFrame, pd.DataFrame]) -> None:
    base, tuned = systems
    for gain, passed in ((1.0, True), (-1.0, False)):
        found = gate.judge({"ndcg@10": rule(0.0)}, chosen(gain), tuned, base, GROUPS, RESAMPLING, "test")
        assert (found["passed"], found["rules"]["ndcg@10"]["passed"]) == (passed, True)
        assert found["choice"].startswith("finetuned is released" if passed else "base is released, since finetuned is")
        assert (found["system"], found["baseline"]) == ("finetuned", "base")


def test_training_questions_cannot_open_the_gate_and_dev_is_told(
    systems: tuple[pd.DataFrame, pd.DataFrame], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    base, tuned = systems
    rules = {"ndcg@10": rule(0.0)}
    found = {split: gate.judge(rules, chosen(), tuned, base, GROUPS, RESAMPLING, split) for split in SPLITS}
    assert {split: verdict["passed"] for split, verdict in found.items()} == {"train": False, "dev": True, "test": True}
    text = Path("params.yaml").read_text(encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(gate_command, "check_fresh", lambda stage: None)
    Path("params.yaml").write_text(text, encoding="utf-8")
    json_files.write_json(paths.VERDICT, found["train"])
    with pytest.raises(EmbedTuneError, match=r"gate: ndcg@10: it is measured on training .* `evaluate\.split: test`"):
        gate_command.main([])
    for split, told in (("dev", True), ("test", False)):
        json_files.write_json(paths.VERDICT, found[split])
        gate_command.main([])
        assert ("were chosen on these dev questions" in capsys.readouterr().out) == told


def test_a_slice_with_few_questions_proves_little_and_one_without_any_nothing(
    systems: tuple[pd.DataFrame, pd.DataFrame],
) -> None:
    base, _ = systems
    groups = GROUPS.assign(query_length=["40-80" if i < 9 else "0-10" for i in range(200)])
    rules = {"ndcg@10 in query_length=40-80": rule(-0.1), "ndcg@10 in query_length=over_80": rule(-0.9)}
    found = gate.judge(rules, chosen(), base, base, groups, RESAMPLING, "test")
    few, none = found["rules"].values()
    assert (few["questions"], few["gain"], few["passed"]) == (9, 0, False)
    assert (none["questions"], none["gain"], none["passed"]) == (0, None, False)
    assert "no question is in this slice" in list(gate.failures(found).values())[1]


@pytest.mark.parametrize(("lost", "count"), [(0, 10), (0, 50), (3, 50), (0, 400), (20, 400), (1, 3000)])
def test_of_questions_that_lose_everything_or_nothing_the_bound_is_clopper_and_pearsons(lost: int, count: int) -> None:
    gains = np.where(np.arange(count) < lost, -1.0, 0.0)
    share = scipy.stats.binomtest(lost, count, alternative="less").proportion_ci(0.95, "exact").high
    assert gate.lower_bound(gains, 0.95, RESAMPLING) == pytest.approx(-share, rel=0.03)


def test_equal_gains_do_not_prove_that_no_question_loses() -> None:
    """Nor do gains that are nearly equal."""
    bound = gate.lower_bound(np.zeros(60), 0.95, RESAMPLING)
    one_gains = gate.lower_bound(np.append(np.zeros(59), 0.001), 0.95, RESAMPLING)
    assert -0.06 < bound < -0.04 and one_gains == pytest.approx(bound, abs=1e-4)


def changed_ranks(rng: np.random.Generator, count: int) -> np.ndarray:
    """Reciprocal ranks that change in half of the questions, mostly by little; 0 on average."""
    before, after = (1 / np.ceil(rng.random(count) * 10) for _ in range(2))
    return np.where(rng.random(count) < 0.5, after - before, 0.0)


def rare_losses(rng: np.random.Generator, count: int) -> np.ndarray:
    """One question in ten loses something, .05 on average; the others nothing."""
    return np.where(rng.random(count) < 0.1, -rng.random(count), 0.0)


def losses_seldom_seen(rng: np.random.Generator, count: int) -> np.ndarray:
    """One question in fifty loses everything, the others gain or lose a hundredth."""
    return np.where(rng.random(count) < 0.02, -1.0, 0.01 * rng.standard_normal(count))


@pytest.mark.parametrize("count", [10, 50, 200])
@pytest.mark.parametrize(("gains", "truth"), [(changed_ranks, 0.0), (rare_losses, -0.05), (losses_seldom_seen, -0.02)])
def test_the_bound_is_below_the_truth_at_least_as_often_as_it_says(
    gains: Callable[[np.random.Generator, int], np.ndarray], truth: float, count: int
) -> None:
    """At 95 %, in 93 % of 600 bounds or more (two standard errors)."""
    rng, few = np.random.default_rng(11), Resampling(0.95, 1_000, seed=2)
    below = [gate.lower_bound(gains(rng, count), 0.95, few) <= truth for _ in range(600)]
    assert np.mean(below) >= 0.93


def test_the_bound_costs_little_where_there_are_many_questions() -> None:
    gains = np.random.default_rng(4).normal(0.05, 0.3, 400).clip(-1, 1)
    student = gains.mean() - scipy.stats.t.ppf(0.95, 399) * scipy.stats.sem(gains)
    assert student - 0.005 < gate.lower_bound(gains, 0.95, RESAMPLING) < student


def test_without_rules_the_gate_is_open(systems: tuple[pd.DataFrame, pd.DataFrame]) -> None:
    found = judged({}, *systems)
    assert (found["passed"], found["rules"]) == (True, {})


def test_the_message_leads_to_the_line_of_params(
    systems: tuple[pd.DataFrame, pd.DataFrame], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = Path("params.yaml").read_text(encoding="utf-8")
    head, rest = text[: text.index("\ngate:")], text[text.index("\ncalibrate:") :]
    tail = "\ngate:\n  recall@10: {min_gain: -0.9, confidence: 0.95}\n  ndcg@10: {min_gain: 0.5, confidence: 0.95}\n"
    tail += rest
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(gate_command, "check_fresh", lambda stage: None)  # see tests/pipeline/test_comparison.py
    Path("params.yaml").write_text(head + tail, encoding="utf-8")
    rules = {"recall@10": rule(-0.9), "ndcg@10": rule(0.5)}
    json_files.write_json(paths.VERDICT, judged(rules, *systems))
    with pytest.raises(EmbedTuneError) as error:
        gate_command.main([])
    line = (head + tail).splitlines().index("  ndcg@10: {min_gain: 0.5, confidence: 0.95}") + 1
    assert f"params.yaml:{line}: gate: ndcg@10: the gain is +" in str(error.value)
    assert "min_gain asks for +0.5" in str(error.value) and "recall@10" not in str(error.value)
