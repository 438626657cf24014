"""A base model's own settings: null takes them over, a value that contradicts them is refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from sentence_transformers import SentenceTransformer

from embedtune.core.errors import EmbedTuneError, ParameterError
from embedtune.models.base_model import prepare_model
from embedtune.models.settings import Settings
from embedtune.models.tokenization import load_tokenizer

OWN = {"pooling": None, "normalize": None, "query_instruction": None, "passage_instruction": None}
PROMPTS = "config_sentence_transformers.json"
TRANSFORMER = "sentence_bert_config.json"


def prepare(source: Path, **given: Any) -> Settings:
    target = source.parent / "target"
    target.mkdir(exist_ok=True)
    return prepare_model(source, target, **{**OWN, **given})


def edit(path: Path, **values: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | values), encoding="utf-8")


def refusal(source: Path, **given: Any) -> str:
    with pytest.raises(EmbedTuneError) as error:
        prepare(source, **given)
    return str(error.value)


def test_null_takes_what_the_files_say(source: Path) -> None:
    edit(source / PROMPTS, prompts={"query": "query: ", "document": "passage: "})
    edit(source / TRANSFORMER, max_seq_length=128)
    edit(source / "1_Pooling" / "config.json", pooling_mode_mean_tokens=False, pooling_mode_cls_token=True)
    assert prepare(source) == Settings("cls", True, "query: ", "passage: ", max_tokens=128)
    oracle = SentenceTransformer(str(source), device="cpu")
    prepared = SentenceTransformer(str(source.parent / "target"), device="cpu")
    assert (prepared.prompts, prepared.max_seq_length) == (oracle.prompts, oracle.max_seq_length)
    texts = ["一个问题", "另一个 longer question"]
    assert prepared.encode_document(texts) == pytest.approx(oracle.encode_document(texts), abs=1e-6)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"pooling": "cls"}, "pooling: expected mean, as the model's own 1_Pooling/config.json says, got cls"),
        ({"normalize": False}, "normalize: expected true, as the model's own modules.json says, got false"),
        (
            {"query_instruction": ""},
            f"query_instruction: expected 'query: ', as the model's own {PROMPTS} says, got ''",
        ),
        (
            {"passage_instruction": "text: "},
            f"passage_instruction: expected 'passage: ', as the model's own {PROMPTS} says, got 'text: '",
        ),
    ],
)
def test_a_value_that_contradicts_the_files_is_refused(source: Path, given: dict[str, Any], message: str) -> None:
    edit(source / PROMPTS, prompts={"query": "query: ", "passage": "passage: "})
    again = "; write null to take the model's own; to go against it, change that file in a local copy"
    assert refusal(source, **given) == message + again


def test_values_that_agree_with_the_files_pass(source: Path) -> None:
    edit(source / PROMPTS, prompts={"query": "query: ", "corpus": "passage: "})
    settings = Settings("mean", True, "query: ", "passage: ", max_tokens=512)
    given = {"pooling": "mean", "normalize": True, "query_instruction": "query: ", "passage_instruction": "passage: "}
    assert prepare(source, **given) == settings


def test_a_default_prompt_is_that_of_queries_and_passages(source: Path) -> None:
    edit(source / PROMPTS, prompts={"all": "text: "}, default_prompt_name="all")
    assert prepare(source) == Settings("mean", True, "text: ", "text: ", max_tokens=512)


@pytest.mark.parametrize(("similarity", "normalize"), [("cosine", True), (None, True), ("dot", False)])
def test_a_model_without_normalisation_compares_by_its_similarity(
    source: Path, similarity: str | None, normalize: bool
) -> None:
    modules = json.loads((source / "modules.json").read_text())
    (source / "modules.json").write_text(json.dumps(modules[:2]))
    edit(source / PROMPTS, similarity_fn_name=similarity)
    assert prepare(source).normalize is normalize
    assert refusal(source, normalize=not normalize).startswith("normalize: expected ")


def test_without_files_pooling_has_to_be_given(source: Path) -> None:
    shutil.rmtree(source / "1_Pooling")
    for name in ("modules.json", PROMPTS, TRANSFORMER):
        (source / name).unlink()
    assert refusal(source) == (
        "pooling: null takes the model's own, and the model has no 1_Pooling/config.json; "
        "write cls, mean or last_token, as its card says"
    )
    assert prepare(source, pooling="cls") == Settings("cls", True, "", "", max_tokens=512)
    settings = Settings("cls", False, "q: ", "p: ", max_tokens=512)
    assert (
        prepare(source, pooling="cls", normalize=False, query_instruction="q: ", passage_instruction="p: ") == settings
    )


def test_lower_case_is_taken_over_into_the_tokenizer(source: Path, capfd: pytest.CaptureFixture[str]) -> None:
    for name in ("tokenizer.json", "tokenizer_config.json"):
        text = (source / name).read_text(encoding="utf-8")
        text = text.replace('"lowercase": true', '"lowercase": false').replace(
            'lower_case": true', 'lower_case": false'
        )
        (source / name).write_text(text, encoding="utf-8")
    prepare(source)
    assert load_tokenizer(source.parent / "target").encode("ABC").tokens[1:-1] == ["[UNK]"]
    edit(source / TRANSFORMER, do_lower_case=True)
    prepare(source)
    assert "turns texts into lower case" in capfd.readouterr().err
    assert load_tokenizer(source.parent / "target").encode("ABC").tokens[1:-1] == ["a", "##b", "##c"]


def test_a_pooling_without_the_instruction_is_refused_where_there_is_an_instruction(source: Path) -> None:
    edit(source / "1_Pooling" / "config.json", include_prompt=False)
    assert prepare(source).pooling == "mean"
    assert "leaves its instruction out of the pooling" in refusal(source, query_instruction="query: ")


def test_modules_that_would_be_lost_are_refused(source: Path) -> None:
    modules = [{"type": f"sentence_transformers.models.{name}"} for name in ("Transformer", "Pooling", "Dense")]
    (source / "modules.json").write_text(json.dumps(modules))
    assert "modules of type Dense, which embedtune cannot train" in refusal(source)


def test_modules_with_code_of_their_own_are_refused(source: Path) -> None:
    text = (source / "modules.json").read_text()
    (source / "modules.json").write_text(
        text.replace("sentence_transformers.models.Transformer", "custom_st.Transformer")
    )
    assert "code of its own for its modules (custom_st.Transformer in modules.json)" in refusal(source)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("modules.json", '{"a": 1}'),
        ("modules.json", '[{"idx": 0}]'),
        ("1_Pooling/config.json", "[]"),
        (PROMPTS, '{"prompts": ["query: "]}'),
        (TRANSFORMER, '{"max_seq_length": "long"}'),
    ],
)
def test_files_that_sentence_transformers_does_not_write_are_refused(source: Path, name: str, content: str) -> None:
    (source / name).write_text(content)
    assert "are not as that writes them" in refusal(source)


def test_two_poolings_at_once_are_refused(source: Path) -> None:
    edit(source / "1_Pooling" / "config.json", pooling_mode_cls_token=True)
    assert "pools by cls, mean" in refusal(source)


def test_a_pooling_of_another_folder_is_found(source: Path) -> None:
    (source / "1_Pooling").rename(source / "2_Pool")
    text = (source / "modules.json").read_text()
    (source / "modules.json").write_text(text.replace("1_Pooling", "2_Pool"))
    with pytest.raises(ParameterError, match=r"expected mean, as the model's own 2_Pool/config\.json says"):
        prepare(source, pooling="cls")
