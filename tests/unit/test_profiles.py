"""Profiles: layers over the shipped defaults, whose comments stay, beside edits, which stay too."""

from __future__ import annotations

import itertools
import shutil
from pathlib import Path

import pytest
import yaml

from embedtune.commands import profile
from embedtune.config.profiles import applied_profiles, apply_profiles, edits_of, known_profiles, values_of
from embedtune.config.reading import load_params, parse_params
from embedtune.config.schema import Params
from embedtune.core.errors import EmbedTuneError

ROOT = Path(__file__).parents[2]
PROFILES, PARAMS = ROOT / "profiles", Path("params.yaml")
DEFAULT = (PROFILES / "default.yaml").read_text(encoding="utf-8")
EDITED = {
    "seed": ("  seed: 42                   # of the order", "  seed: 7     # mine"),
    "round": ("teacher: none}\n", "teacher: none}\n  round2:\n    from: finetuned  # mine\n    teacher: none\n"),
    "gate": ("ndcg@10: {min_gain: 0.01,", "ndcg@10: {min_gain: 0.02,"),
}


def edited(text: str, *names: str) -> str:
    for name in names or EDITED:
        assert text.count(EDITED[name][0]) == 1
        text = text.replace(*EDITED[name])
    return text


def applied(text: str, *names: str) -> str:
    return apply_profiles(text, names, PROFILES, PARAMS)


def values(text: str) -> dict[tuple[str, ...], object]:
    return values_of(parse_params(text, PARAMS))


def test_the_committed_params_are_the_defaults_with_their_profiles_and_edits() -> None:
    text = (ROOT / "params.yaml").read_text(encoding="utf-8")
    assert applied(text, *applied_profiles(text)) == text


def test_the_schema_has_the_keys_of_the_defaults_in_their_order() -> None:
    content = parse_params(DEFAULT, PARAMS)
    assert list(content) == list(Params.model_fields)
    for section, keys in content.items():
        fields = getattr(Params.model_fields[section].annotation, "model_fields", None)
        assert fields is None or list(keys) == list(fields), section


def test_every_key_of_the_defaults_stands_on_a_line_of_its_own_with_its_comment() -> None:
    for section, value in parse_params(DEFAULT, PARAMS).items():
        for key in value if isinstance(value, dict) and section not in ("rounds", "fusions", "release") else ():
            lines = [line for line in DEFAULT.splitlines() if line.startswith(f"  {key}: ")]
            assert lines and all("  # " in line or " # " in line for line in lines), (section, key)


@pytest.mark.parametrize("name", known_profiles(PROFILES))
def test_a_profile_is_valid_says_what_it_is_and_holds_only_differences(name: str, tmp_path: Path) -> None:
    text = (PROFILES / f"{name}.yaml").read_text(encoding="utf-8")
    assert text.startswith("# ")
    assert len(text.splitlines()) <= 40
    whole = applied(DEFAULT, name)
    (tmp_path / "params.yaml").write_text(whole, encoding="utf-8")
    load_params(tmp_path / "params.yaml")
    layer, default = values(text), values(DEFAULT)
    assert all(default[key] != value for key, value in layer.items())
    assert values(whole) == default | layer
    assert whole.splitlines()[0] == f"# profiles: {name}"
    comments, kept = ([line.partition("# ")[2] for line in of.splitlines()[1:]] for of in (DEFAULT, whole))
    assert [comment for comment in kept if comment] == [comment for comment in comments if comment]


@pytest.mark.parametrize(("first", "second"), itertools.permutations(["mldr-zh", "mldr-zh-long"], 2))
def test_of_two_profiles_the_later_one_wins(first: str, second: str) -> None:
    found = values(applied(DEFAULT, first, "lora", second))
    length = 512 if second == "mldr-zh-long" else 256
    assert (found[("train", "passage_max_len")], found[("train", "method")]) == (length, "lora")
    assert found[("dataset", "source")] == "mldr"


def test_going_back_gives_the_bytes_of_the_defaults() -> None:
    assert applied(applied(DEFAULT, "mldr-zh", "lora")) == DEFAULT
    assert applied(applied(DEFAULT, "mldr-zh-long"), "mldr-zh") == applied(DEFAULT, "mldr-zh")


def test_edits_stay_whatever_profiles_come_and_go() -> None:
    mine = edited(DEFAULT)
    there = applied(mine, "mldr-zh", "lora")
    assert values(there) == values(edited(applied(DEFAULT, "mldr-zh", "lora"), "gate")) | {
        key: values(mine)[key] for key in (("train", "seed"), ("rounds",))
    }
    assert values(applied(there)) == values(mine)
    assert set(edits_of(there, PROFILES, PARAMS)) == {("train", "seed"), ("rounds",), ("gate",)}
    assert edits_of(DEFAULT, PROFILES, PARAMS) == {}


def test_a_params_file_without_the_first_line_is_one_without_profiles() -> None:
    bare = edited(DEFAULT.partition("\n")[2])
    assert values(applied(bare, "lora")) == values(bare) | {("train", "method"): "lora"}


def test_a_profile_that_contradicts_an_edit_is_refused_and_nothing_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copytree(PROFILES, "profiles")
    text = DEFAULT.replace("max_tokens: 64 ", "max_tokens: 99 ").replace("temperature: null", "temperature: 0.03")
    PARAMS.write_text(text, encoding="utf-8")
    with pytest.raises(EmbedTuneError) as caught:
        profile.main(["mldr-zh"])
    assert str(caught.value).splitlines() == [
        "params.yaml: segment.max_tokens: is 99 by an edit; profile mldr-zh sets 512",
        "params.yaml: train.temperature: is 0.03 by an edit; profile mldr-zh sets 0.02",
        "undo these edits, or leave the profile out",
    ]
    assert PARAMS.read_text(encoding="utf-8") == text
    PARAMS.write_text(text.replace("0.03", "0.02").replace(": 99 ", ": 512 "), encoding="utf-8")
    profile.main(["mldr-zh"])  # the same value by an edit is no contradiction
    assert applied_profiles(PARAMS.read_text(encoding="utf-8")) == ["mldr-zh"]


def test_what_was_edited_after_a_profile_stays_when_the_profile_is_named_again() -> None:
    there = applied(DEFAULT, "mldr-zh").replace("temperature: 0.02", "temperature: 0.03")
    again = applied(there, "mldr-zh", "lora")
    assert values(again)[("train", "temperature")] == 0.03
    assert values(again)[("train", "method")] == "lora"


def test_the_command_says_what_is_applied_and_edited_and_keeps_a_copy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copytree(PROFILES, "profiles")
    PARAMS.write_text(edited(DEFAULT, "seed"), encoding="utf-8")
    profile.main([])
    assert capsys.readouterr().out == "profiles: none\nedited: train.seed: 7\n"
    profile.main(["mldr-zh", "lora"])
    assert capsys.readouterr().out == "profiles: mldr-zh lora\nedited: train.seed: 7\n"
    assert Path("params.yaml.bak").read_text(encoding="utf-8") == edited(DEFAULT, "seed")
    profile.main(["--none"])
    assert values(PARAMS.read_text(encoding="utf-8")) == values(edited(DEFAULT, "seed"))
    with pytest.raises(EmbedTuneError, match="no profile 'mldr'; there are lora, mldr-zh, mldr-zh-long, mldr-zh-publ"):
        profile.main(["mldr"])
    (tmp_path / "profiles" / "own.yaml").write_text("train: {learning_rat: 1}\n")
    with pytest.raises(EmbedTuneError, match=r"own.yaml: train.learning_rat: profiles/default.yaml has no such"):
        profile.main(["own"])


def test_numbers_and_texts_stay_as_they_were_typed() -> None:
    text = applied(DEFAULT, "mldr-zh", "lora")
    assert "  temperature: 0.02          # above 0" in text
    rate = applied(DEFAULT.replace("learning_rate: null", "learning_rate: 1e-4"), "mldr-zh")
    assert "  learning_rate: 1e-4        # at its peak" in rate
    assert "  random_ranks: [1000, null]  # null: the whole corpus" in text
    assert yaml.safe_load(text)["model"]["query_instruction"] == "为这个句子生成表示以用于检索相关文章："
