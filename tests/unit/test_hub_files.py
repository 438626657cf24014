"""Which of a repository's files are fetched."""

from __future__ import annotations

import pytest

from embedtune.core.errors import EmbedTuneError
from embedtune.data.hub.choosing import choose_mldr_files, choose_model_files

BASE = ["config.json", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "vocab.txt"]
MODULES = [
    "modules.json",
    "config_sentence_transformers.json",
    "sentence_xlm-roberta_config.json",
    "1_Pooling/config.json",
]
NOT_WANTED = [
    ".gitattributes", "README.md", "model.ckpt", "onnx/model.onnx", "onnx/config.json", "onnx/tokenizer.json",
    "onnx/model.safetensors", "openvino/openvino_model.bin", "openvino_model.bin", "tf_model.h5", "flax_model.msgpack",
    "training_args.bin", "optimizer.bin", "adapter_model.safetensors", "colbert_linear.pt", "model.onnx",
]  # fmt: skip


@pytest.mark.parametrize(
    ("offered", "taken"),
    [
        (["model.safetensors", "pytorch_model.bin"], ["model.safetensors"]),
        (["pytorch_model.bin"], ["pytorch_model.bin"]),
        (
            ["pytorch_model.bin", "model.safetensors.index.json"]
            + ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"],
            ["model.safetensors.index.json"] + ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"],
        ),
        (
            ["pytorch_model.bin.index.json", "pytorch_model-00001-of-00001.bin"],
            ["pytorch_model.bin.index.json", "pytorch_model-00001-of-00001.bin"],
        ),
        (
            ["model.safetensors", "2_Dense/config.json", "2_Dense/model.safetensors", "2_Dense/pytorch_model.bin"],
            ["model.safetensors", "2_Dense/config.json", "2_Dense/model.safetensors"],
        ),
        (
            ["sentencepiece.bpe.model", "added_tokens.json", "merges.txt", "vocab.json", "model.safetensors"],
            ["sentencepiece.bpe.model", "added_tokens.json", "merges.txt", "vocab.json", "model.safetensors"],
        ),
    ],
    ids=["safetensors", "bin", "sharded safetensors", "sharded bin", "dense module", "other tokenizers"],
)
def test_model_files(offered: list[str], taken: list[str]) -> None:
    names = sorted(BASE + MODULES + NOT_WANTED + offered)
    assert choose_model_files(names) == sorted(BASE + MODULES + taken)


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["model.safetensors"], "no config.json; choose a repository that holds a transformers model"),
        (
            ["config.json", "onnx/model.safetensors", "tf_model.h5", "model-00001-of-00002.safetensors"],
            "no model.safetensors or pytorch_model.bin, whole or in shards; choose a repository with PyTorch weights",
        ),
    ],
)
def test_a_repository_that_is_no_model(names: list[str], message: str) -> None:
    with pytest.raises(EmbedTuneError) as caught:
        choose_model_files(names)
    assert str(caught.value) == message


def test_mldr_files() -> None:
    files = [f"mldr-v1.0-zh/{part}.jsonl.gz" for part in ("train", "dev", "test", "corpus")]
    assert choose_mldr_files("zh")(sorted([*files, "README.md", "mldr-v1.0-en/train.jsonl.gz"])) == files
    with pytest.raises(EmbedTuneError) as caught:
        choose_mldr_files("zh")(["README.md"])
    assert str(caught.value).endswith(
        "; the repository holds no MLDR corpus at all: choose another language or revision"
    )
