"""Parameter files made to do harm: each is refused in clear lines, within bounded time and memory, or is valid."""

from __future__ import annotations

import copy
import tempfile
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from embedtune.config.reading import load_params
from embedtune.core.errors import EmbedTuneError
from embedtune.core.visible import CONTROLS

ROOT = Path(__file__).resolve().parents[2]
DEFAULTS: dict[str, Any] = yaml.safe_load((ROOT / "profiles" / "default.yaml").read_text(encoding="utf-8"))
BOUNDED = settings(
    max_examples=50, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck)
)
COMMANDS = ["x; touch pwned", "$(touch pwned)", "`touch pwned`", "x | touch pwned", "x\ntouch pwned", "../../escape"]


def paths_of(section: dict[str, Any], before: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    """The paths of all keys, sections included."""
    found = []
    for key, value in section.items():
        found.append((*before, key))
        if isinstance(value, dict):
            found += paths_of(value, (*before, key))
    return found


TEXTS = st.one_of(
    st.sampled_from([*COMMANDS, "", " ", "\0", "\x1b[2J", "a\nb", "\ud800", "x" * 5000, "NaN", "1e5", "../..", "~/x"]),
    st.text(max_size=30),
)
NUMBERS = st.one_of(
    st.sampled_from([0, -1, 2**31, 2**63, 2**64, 2**70, 10**30, 10**400, -(10**400), 1e-320, 1e308, 0.1 + 0.2]),
    st.sampled_from([float("inf"), float("-inf"), float("nan"), True, None]),
    st.integers(),
    st.floats(),
)
VALUES = st.recursive(
    st.one_of(NUMBERS, TEXTS),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(TEXTS, inner, max_size=3)),
    max_leaves=8,
)
# nested lists and sections of any depth, and files that are no YAML at all
FILES = st.one_of(
    st.binary(max_size=200),
    st.text(max_size=200).map(lambda text: text.encode("utf-8", errors="surrogatepass")),
    st.builds(
        lambda start, times: (start * times).encode(),
        st.sampled_from(["[", "{a: ", "- ", "a:\n ", "? "]),
        st.integers(1, 30000),
    ),
)


def outcome(content: bytes) -> str | None:
    """The message about a file of this content, None if it is valid. Whatever else is raised fails the test."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "params.yaml"
        path.write_bytes(content)
        try:
            load_params(path)
        except EmbedTuneError as error:
            assert [file.name for file in Path(folder).iterdir()] == ["params.yaml"]
            return str(error).replace(f"{folder}/", "")
    return None


def assert_clear(message: str) -> None:
    """Every line names the file, is printable, and is short enough to be read."""
    for line in message.split("\n"):
        assert line.startswith(("params.yaml: ", "params.yaml:", "… and ")), line
        assert not CONTROLS.search(line) and len(line) < 4500, line


@BOUNDED
@given(st.lists(st.tuples(st.sampled_from(paths_of(DEFAULTS)), VALUES), min_size=1, max_size=4))
def test_hostile_values_are_refused_by_name_or_are_valid(edits: list[tuple[tuple[str, ...], Any]]) -> None:
    content = copy.deepcopy(DEFAULTS)
    for (*sections, key), value in edits:
        section: Any = content
        for part in sections:
            section = section.get(part) if isinstance(section, dict) else None
        if isinstance(section, dict):
            section[key] = value
    message = outcome(yaml.safe_dump(content, allow_unicode=True, sort_keys=False).encode("utf-8", "surrogatepass"))
    if message is not None:
        assert_clear(message)


@BOUNDED
@given(FILES)
def test_hostile_files_are_refused(content: bytes) -> None:
    message = outcome(content)
    assert message is not None
    assert_clear(message)


@pytest.mark.parametrize("name", COMMANDS)
@pytest.mark.parametrize("section", ["rounds", "mixtures", "fusions", "from", "teacher", "model", "dense", "systems"])
def test_no_name_can_be_a_command(section: str, name: str) -> None:
    content = copy.deepcopy(DEFAULTS)
    changes: dict[str, Any] = {
        "rounds": {name: {"from": "base", "teacher": "none"}},
        "from": {"finetuned": {"from": name, "teacher": "none"}},
        "teacher": {"finetuned": {"from": "base", "teacher": name}},
        "mixtures": {name: {"model": "finetuned", "weights": [0, 1]}},
        "model": {"mixed": {"model": name, "weights": [0, 1]}},
        "fusions": {name: {"dense": "finetuned", "by": "ranks"}},
        "dense": {"hybrid_ranks": {"dense": name, "by": "ranks"}},
        "systems": [*DEFAULTS["systems"], name],
    }
    key = {"from": "rounds", "teacher": "rounds", "model": "mixtures", "dense": "fusions"}.get(section, section)
    content[key] = {**content[key], **changes[section]} if isinstance(content[key], dict) else changes[section]
    message = outcome(yaml.safe_dump(content).encode())
    assert message is not None and message.startswith(f"params.yaml: {key}")
    assert_clear(message)


LEVELS = "".join(f"a{i}: &a{i} [*a{i - 1}, *a{i - 1}]\n" for i in range(1, 64))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (f"a0: &a0 [x, x]\n{LEVELS}", "params.yaml: more than 100000 values once its aliases"),
        ("a: &a [*a]", "params.yaml: more than 100000 values once its aliases"),
        ("#" * 200_000, "params.yaml: 200000 characters are more than"),
        ("a: 1\n" + "b: " + "[" * 1_000, "params.yaml: not valid YAML: lists or sections are nested too deeply"),
        ("a: 2001-13-45", "params.yaml: not valid YAML: a value cannot be read (month must be in 1..12)"),
        (f"a: {'1' * 5000}", "params.yaml: not valid YAML: a value cannot be read (Exceeds the limit"),
        ("1: 2", "params.yaml: dataset: missing"),
        ("? [a, b]\n: 1", "params.yaml: dataset: missing"),
        ("~: 1", "params.yaml: dataset: missing"),
    ],
    ids=["aliases", "alias of itself", "long", "deep", "date", "digits", "number as key", "list as key", "null as key"],
)
def test_a_file_that_cannot_be_held_is_refused(text: str, message: str) -> None:
    found = outcome(text.encode())
    assert found is not None and found.startswith(message)
    assert_clear(found)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("train.seed", 2**70, f"expected a whole number of 0 or more, at most {2**63 - 1}, got {2**70}"),
        ("train.logging_steps", 2**31, f"expected a whole number of 1 or more, at most {2**31 - 1}, got {2**31}"),
        (
            "train.learning_rate",
            1e300,
            "expected a number above 0, or null for the recipe's, at most 1e+30, got 1e+300",
        ),
        ("train.lora_r", 10**9, "expected a whole number of 1 or more, at most 8192, got 1000000000"),
        ("evaluate.depth", 10**30, f"expected a whole number of 1 or more, at most 1000000, got {10**30}"),
        ("compare.resamples", 10**12, "expected a whole number of 100 or more, at most 1000000, got 1000000000000"),
        (
            "compare.confidence",
            0.9999999,
            "expected at most 0.99998, for which 1000000 resamples are enough, got 0.9999999",
        ),
    ],
)
def test_a_number_that_no_library_computes_with_is_refused(key: str, value: float, message: str) -> None:
    content = copy.deepcopy(DEFAULTS)
    section, name = key.split(".")
    content[section][name] = value
    assert outcome(yaml.safe_dump(content).encode()) == f"params.yaml: {key}: {message}"
