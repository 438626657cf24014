"""Preparing base models: what is refused, how many tokens they read, and that their weights stay as they are."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModel, XLMRobertaConfig, XLMRobertaModel

from embedtune.config.reading import load_params
from embedtune.core.errors import EmbedTuneError
from embedtune.models.base_model import prepare_model
from embedtune.models.sample_model import write_sample_model
from embedtune.models.settings import Settings, pooling_modes, read_settings
from stages.base_model import lacks_instructions
from tests.unit.parameters import edited

INSTRUCTIONS = {"normalize": True, "query_instruction": "问：", "passage_instruction": "答："}


@pytest.fixture
def source(tmp_path: Path) -> Path:
    (tmp_path / "source").mkdir()
    write_sample_model(tmp_path / "source", pooling="cls")
    (tmp_path / "target").mkdir()
    return tmp_path / "source"


def prepare(source: Path, pooling: str = "cls") -> Settings:
    return prepare_model(source, source.parent / "target", pooling=pooling, **INSTRUCTIONS)


def test_settings_are_written_and_read_back(source: Path) -> None:
    settings = prepare(source)
    assert settings == Settings("cls", True, "问：", "答：", 512)
    assert read_settings(source.parent / "target") == settings


def test_weights_stay_as_they_are(source: Path) -> None:
    prepare(source)
    before, after = (AutoModel.from_pretrained(path).state_dict() for path in (source, source.parent / "target"))
    shared = before.keys() & after.keys()
    assert "encoder.layer.1.output.dense.weight" in shared
    assert all(torch.equal(before[key], after[key]) for key in shared if "pooler" not in key)


def test_the_same_source_gives_the_same_bytes(source: Path) -> None:
    prepare(source)
    first = (source.parent / "target" / "model.safetensors").read_bytes()
    torch.rand(1)
    prepare(source)
    assert (source.parent / "target" / "model.safetensors").read_bytes() == first


def test_missing_weights_are_refused(source: Path) -> None:
    config = json.loads((source / "config.json").read_text())
    (source / "config.json").write_text(json.dumps(config | {"num_hidden_layers": 3}))
    with pytest.raises(EmbedTuneError, match=r"16 weights that the architecture BertModel needs are missing"):
        prepare(source)


def test_position_tables_that_begin_after_the_padding_token_count_less(source: Path) -> None:
    config = XLMRobertaConfig(
        vocab_size=7600, hidden_size=16, num_hidden_layers=1, num_attention_heads=1, intermediate_size=16,
        max_position_embeddings=130, pad_token_id=1,
    )  # fmt: skip
    XLMRobertaModel(config, add_pooling_layer=False).save_pretrained(source)
    assert prepare(source).max_tokens == 128


def test_a_directory_that_is_no_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(EmbedTuneError, match=r"no config\.json"):
        prepare_model(tmp_path, tmp_path, pooling="cls", **INSTRUCTIONS)
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    with pytest.raises(EmbedTuneError, match="cannot be loaded as a model"):
        prepare_model(tmp_path, tmp_path, pooling="cls", **INSTRUCTIONS)


@pytest.mark.parametrize(
    ("config", "modes"),
    [
        ({"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False}, ["cls"]),
        ({"pooling_mode_lasttoken": True}, ["last_token"]),
        ({"pooling_mode": "mean"}, ["mean"]),
        ({"pooling_mode": "lasttoken"}, ["last_token"]),
        ({"pooling_mode": ["cls", "mean"]}, ["cls", "mean"]),
        ({"pooling_mode_max_tokens": True}, ["pooling_mode_max_tokens"]),
        ({}, []),
    ],
)
def test_both_ways_of_naming_a_pooling_are_read(config: dict[str, Any], modes: list[str]) -> None:
    assert pooling_modes(config) == modes


@pytest.mark.parametrize(
    ("name", "written", "of_files", "lacking"),
    [
        ("local", None, "", True),
        ("local", "", "", False),
        ("local", None, "query: ", False),
        ("local", "query: ", "query: ", False),
        ("sample", None, "", False),
    ],
)
def test_a_model_without_instructions_is_told_unless_none_is_meant(
    tmp_path: Path, name: str, written: str | None, of_files: str, lacking: bool
) -> None:
    params = load_params(
        edited(tmp_path / "params.yaml", {"model.name": name, "model.query_instruction": json.dumps(written)})
    )
    assert lacks_instructions(params.model, Settings("mean", True, of_files, "", 512)) == lacking
