"""The library's errors in the words of params.yaml: each parameter with the section that a stage took it from."""

from pathlib import Path

import pytest

from embedtune.config.places import in_words_of_params, key_of, located_rules
from embedtune.core.errors import EmbedTuneError, ParameterError
from stages import running


@pytest.mark.parametrize(
    ("parameter", "sections", "key"),
    [
        ("precision", ("encode",), "encode.precision"),
        ("precision", ("train", "encode"), "train.precision"),
        ("precision", (), None),
        ("lora_r", ("encode",), "train.lora_r"),
        ("documents", ("dataset",), "dataset.sample.documents"),
        ("max_tokens", ("encode", "segment"), "segment.max_tokens"),
        ("nothing", ("train",), None),
    ],
)
def test_a_parameter_is_found_in_the_stages_sections_or_where_it_is_the_only_one(
    parameter: str, sections: tuple[str, ...], key: str | None
) -> None:
    assert key_of(parameter, sections) == key


def test_an_error_names_the_place_of_the_parameter_and_of_those_that_it_advises_to_change() -> None:
    error = ParameterError("max_len", "expected at most 512, got 600; lower `max_len: 512` or `precision`, not `fp32`")
    assert in_words_of_params(error, ("rerank", "encode")) == (
        "params.yaml: rerank.max_len: expected at most 512, got 600; lower `rerank.max_len: 512` or "
        "`encode.precision`, not `fp32`"
    )
    assert str(error).startswith("max_len: expected at most 512")
    assert in_words_of_params(EmbedTuneError("a/b: broken"), ("train",)) == "a/b: broken"


def test_a_stage_tells_how_to_go_on_with_dvc(capsys: pytest.CaptureFixture[str]) -> None:
    def main() -> None:
        raise EmbedTuneError("data/x: the disk is full; make room and run it again")

    with pytest.raises(SystemExit) as ended:
        running.run(main, "train")
    assert ended.value.code == "error: data/x: the disk is full; make room and run `dvc repro` again"


def test_an_interrupted_stage_says_that_dvc_goes_on(capsys: pytest.CaptureFixture[str]) -> None:
    def main() -> None:
        raise KeyboardInterrupt

    with pytest.raises(SystemExit) as ended:
        running.run(main)
    assert str(ended.value.code).startswith("interrupted; `dvc repro` starts this stage again")


def test_a_rule_that_was_not_met_leads_to_its_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "params.yaml").write_text("a: 1\ngate:\n  recall@10: {min_gain: 0}\n  ndcg@10: {min_gain: 1}\n")
    assert located_rules({"ndcg@10": "too little"}) == ["params.yaml:4: gate: ndcg@10: too little"]


def test_the_scratch_folders_of_a_stage_cover_the_code_that_dvc_yaml_lists() -> None:
    code = running.code_of("train")
    assert Path("embedtune/training/loop.py") in code
    assert Path("stages/train.py") in code
    assert all(path.suffix == ".py" for path in code)
    assert running.code_of("encode") == running.code_of("encode_base")
    assert not any("report" in str(path) for path in code)
