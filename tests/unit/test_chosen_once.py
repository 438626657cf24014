"""A choice by the machine is made once for a run."""

from __future__ import annotations

from pathlib import Path

from embedtune.compute.chosen_once import CHOICES, chosen_once


def test_the_first_choice_stays_and_others_stand_beside_it(tmp_path: Path) -> None:
    run = tmp_path / "run"
    assert chosen_once(run, "precision", lambda: "bf16") == "bf16"
    assert chosen_once(run, "chunking", lambda: [1, 2]) == [1, 2]
    assert chosen_once(run, "precision", lambda: "fp32") == "bf16"
    assert [path.name for path in run.iterdir()] == [CHOICES]


def test_another_run_chooses_anew(tmp_path: Path) -> None:
    assert chosen_once(tmp_path / "a", "key", lambda: 1) == 1
    assert chosen_once(tmp_path / "b", "key", lambda: 2) == 2
