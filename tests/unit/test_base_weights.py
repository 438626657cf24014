"""A base model's weights: damaged ones, and ones of another model than config.json says, are refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import BertConfig, BertForMaskedLM

from embedtune.core.errors import EmbedTuneError
from embedtune.models.base_weights import load_source_model


def edit(source: Path, **values: Any) -> None:
    path = source / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def refusal(source: Path) -> str:
    with pytest.raises(EmbedTuneError) as error:
        load_source_model(source)
    return str(error.value)


@pytest.mark.parametrize("kept", [0, 4, 1000, -1])
def test_a_truncated_file_is_refused_by_its_name(source: Path, kept: int) -> None:
    path = source / "model.safetensors"
    path.write_bytes(path.read_bytes()[:kept])
    assert refusal(source).startswith(f"{path}: cannot be read as safetensors (")


@pytest.mark.parametrize("content", [b"", b"not a pickle", b"\x80\x02K\x01.", b"PK\x03\x04"])
def test_a_pickled_file_that_cannot_be_read_is_refused(source: Path, content: bytes) -> None:
    (source / "model.safetensors").unlink()
    (source / "pytorch_model.bin").write_bytes(content)
    told = refusal(source)
    assert told.startswith(f"{source}: cannot be loaded as a model: ") and "weights_only" not in told


def test_a_config_that_makes_no_sense_is_refused(source: Path) -> None:
    edit(source, hidden_size="wide")
    assert refusal(source).startswith(f"{source}: cannot be loaded as a model: ")


def test_weights_that_are_not_finite_are_refused(source: Path) -> None:
    weights = load_file(source / "model.safetensors")
    weights["embeddings.word_embeddings.weight"][7, 3] = float("nan")
    save_file(weights, source / "model.safetensors", metadata={"format": "pt"})
    assert "1 weights hold numbers that are not finite, such as embeddings.word_embeddings.weight" in refusal(source)


def test_layers_that_config_json_does_not_tell_of_are_refused(source: Path) -> None:
    edit(source, num_hidden_layers=1)
    assert "16 weights have no place in the architecture BertModel that config.json describes" in refusal(source)


def test_constants_in_older_files_are_no_surplus(source: Path) -> None:
    weights = load_file(source / "model.safetensors")
    weights["embeddings.position_ids"] = torch.arange(512)[None]
    save_file(weights, source / "model.safetensors", metadata={"format": "pt"})
    load_source_model(source)


def test_the_head_of_a_language_model_may_be_left_out(tmp_path: Path) -> None:
    config = BertConfig(vocab_size=30, hidden_size=16, num_hidden_layers=1, num_attention_heads=1, intermediate_size=16)
    BertForMaskedLM(config).save_pretrained(tmp_path)
    assert type(load_source_model(tmp_path)).__name__ == "BertModel"


@pytest.mark.parametrize("name", ["BertForSequenceClassification", "RobertaModel", "HF_ColBERT"])
def test_another_class_than_the_one_that_gets_loaded_is_refused(source: Path, name: str) -> None:
    edit(source, architectures=[name])
    assert f"config.json says {name}, and its model type bert loads as BertModel: another" in refusal(source)


def test_a_model_with_code_of_its_own_is_refused_without_a_question(source: Path) -> None:
    edit(source, auto_map={"AutoModel": "modeling_own.OwnModel"})
    assert "brings code of its own (auto_map in config.json: AutoModel)" in refusal(source)
    edit(source, auto_map={"AutoConfig": "configuration_own.OwnConfig"}, model_type="own")
    assert "brings code of its own (auto_map in config.json: AutoConfig)" in refusal(source)


def test_a_model_of_an_encoder_and_a_decoder_is_refused(source: Path) -> None:
    edit(source, is_encoder_decoder=True)
    assert "has an encoder and a decoder" in refusal(source)


def test_the_same_weights_give_the_same_missing_pooler(source: Path) -> None:
    first, second = (load_source_model(source).pooler.dense.weight for _ in range(2))
    assert torch.equal(first, second)
