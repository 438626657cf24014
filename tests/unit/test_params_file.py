"""params.yaml as a file: broken YAML, other encodings, a file that is missing, the command that checks it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from embedtune.config.reading import load_params
from tests.unit.parameters import ROOT, complaint, edited

BROKEN_YAML = {
    "unclosed": ("dataset: [1, 2\nmodel: 3\n", "params.yaml:2: not valid YAML: expected ',' or ']', but got ':'"),
    "tab": (
        "dataset:\n\tsource: mldr\n",
        "params.yaml:2: not valid YAML: found character '\\t' that cannot start any token",
    ),
    "section-twice": (
        "train:\n  seed: 1\ntrain:\n  seed: 2\n",
        "params.yaml:3: not valid YAML: key 'train' stands twice in one section",
    ),
    "key-twice": (
        "train:\n  seed: 1\n  seed: 2\n",
        "params.yaml:3: not valid YAML: key 'seed' stands twice in one section",
    ),
    "empty": ("", "params.yaml: expected sections such as `dataset:` and `train:`, got None"),
    "list": ("- 1\n", "params.yaml: expected sections such as `dataset:` and `train:`, got [1]"),
}


@pytest.mark.parametrize(("text", "message"), BROKEN_YAML.values(), ids=BROKEN_YAML)
def test_broken_yaml_is_named_with_its_line(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "params.yaml").write_text(text, encoding="utf-8")
    assert complaint(tmp_path / "params.yaml") == message


def test_an_unfilled_template_is_broken_yaml_and_not_a_crash(tmp_path: Path) -> None:
    path = edited(tmp_path / "params.yaml", {"dataset.path": "{{ path }}"})
    assert complaint(path).startswith("params.yaml:")


def test_the_same_key_may_stand_in_two_sections(tmp_path: Path) -> None:
    params = load_params(edited(tmp_path / "params.yaml", {"mine.seed": "1", "train.seed": "2"}))
    assert (params.mine.seed, params.train.seed) == (1, 2)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    assert complaint(tmp_path / "params.yaml") == "params.yaml: no such file; run this in the project's root"


def test_a_file_in_another_encoding_is_named(tmp_path: Path) -> None:
    (tmp_path / "params.yaml").write_bytes("model: 模型\n".encode("gbk"))
    message = complaint(tmp_path / "params.yaml")
    assert message.startswith("params.yaml: not UTF-8 text (")
    assert message.endswith("; save it as UTF-8")


def test_the_command_line_check_prints_the_message_and_exits_with_1(tmp_path: Path) -> None:
    path = edited(tmp_path / "params.yaml", {"mine.hard_share": "70"})
    done = subprocess.run(
        [sys.executable, "-m", "embedtune", "check", str(path)], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (
        f"error: {path}: mine.hard_share: expected a number from 0 to 1, got 70; for 70 % write 0.7\n"
    )
