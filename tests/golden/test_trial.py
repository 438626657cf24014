"""What is released is tried in sentence-transformers on texts of unequal length before it is called released."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from embedtune.comparison.release import name_base_of_adapter
from embedtune.core.errors import EmbedTuneError
from embedtune.models.base_model import prepare_model
from embedtune.models.trial import try_cross_encoder, try_in_sentence_transformers
from tests.golden.reranking import CPU
from tests.unit.test_base_tokenizer import SPECIAL, write_decoder

GIVEN = {"pooling": "last_token", "normalize": True, "query_instruction": "q: ", "passage_instruction": "文："}


def decoder(root: Path, kind: str = "llama", **config: object) -> Path:
    """A prepared decoder of random weights, with absolute positions (gpt2) or relative ones (llama)."""
    source, target = write_decoder(root, "<s> $A </s>", {**SPECIAL, **config}, kind=kind), root / "prepared"
    target.mkdir()
    prepare_model(source, target, **GIVEN)
    return target


def edit(path: Path, **values: object) -> None:
    path.write_text(json.dumps(json.loads(path.read_text(encoding="utf-8")) | values), encoding="utf-8")


def test_prepared_models_give_the_same_vectors_there(tmp_path: Path, sample_model: Path) -> None:
    assert try_in_sentence_transformers(sample_model) > 1 - 1e-5
    for number, kind in enumerate(("llama", "gpt2")):
        (tmp_path / str(number)).mkdir()
        directory = decoder(tmp_path / str(number), kind, padding_side="left")
        assert try_in_sentence_transformers(directory) > 1 - 1e-5


def test_a_tokenizer_that_pads_left_of_absolute_positions_is_refused(tmp_path: Path) -> None:
    directory = decoder(tmp_path, "gpt2")
    edit(directory / "tokenizer_config.json", padding_side="left")
    with pytest.raises(
        EmbedTuneError, match=r"gives other vectors than embedtune: .* cosine of the query .* instead of 1"
    ):
        try_in_sentence_transformers(directory)


def test_a_tokenizer_that_cannot_pad_is_refused(tmp_path: Path) -> None:
    directory = decoder(tmp_path)
    edit(directory / "tokenizer_config.json", pad_token=None)
    with pytest.raises(EmbedTuneError, match=r"sentence-transformers cannot use the model: .*padding token"):
        try_in_sentence_transformers(directory)


@pytest.mark.parametrize(("base", "revision"), [("maker/model", "main"), (None, None)])
def test_an_adapter_names_its_base_model_on_the_hub_or_none(
    tmp_path: Path, base: str | None, revision: str | None
) -> None:
    name_base_of_adapter(tmp_path, "maker/model", "main")  # without an adapter nothing is written
    assert not list(tmp_path.iterdir())
    path = tmp_path / "adapter" / "adapter_config.json"
    path.parent.mkdir()
    path.write_text(json.dumps({"base_model_name_or_path": "models/base", "r": 8, "revision": None}))
    name_base_of_adapter(tmp_path, base, revision)
    assert json.loads(path.read_text()) == {"base_model_name_or_path": base, "r": 8, "revision": revision}


def edited(directory: Path, target: Path, file: str, **values: Any) -> Path:
    """A copy of a model with some values of a JSON file changed."""
    target.mkdir()
    for source in directory.iterdir():
        (target / source.name).write_bytes(source.read_bytes())
    content = json.loads((target / file).read_text(encoding="utf-8"))
    (target / file).write_text(json.dumps(content | values), encoding="utf-8")
    return target


def test_a_good_cross_encoder_passes_its_trial(far_apart: Path) -> None:
    assert try_cross_encoder(far_apart, CPU) < 1e-5


@pytest.mark.parametrize(
    ("file", "values", "message"),
    [
        ("tokenizer_config.json", {"padding_side": "left"}, "gives other scores than embedtune: they differ by .* of"),
        ("tokenizer_config.json", {"model_max_length": 16}, "gives other scores than embedtune: they differ by .* of"),
        ("tokenizer_config.json", {"pad_token": None}, "cannot use the cross-encoder: .*padding token"),
        ("config.json", {"max_position_embeddings": 400}, "cannot be loaded as a cross-encoder"),
    ],
    ids=["padding", "length", "no-padding", "positions"],
)
def test_a_cross_encoder_that_others_would_read_otherwise_is_refused(
    far_apart: Path, tmp_path: Path, file: str, values: dict[str, Any], message: str
) -> None:
    with pytest.raises(EmbedTuneError, match=message):
        try_cross_encoder(edited(far_apart, tmp_path / "edited", file, **values), CPU)
