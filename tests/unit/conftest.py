"""Tokenizers and documents that the tests of segmenting share."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers

from embedtune.core.json_files import read_lines
from embedtune.data.sample.corpus import write_sample
from embedtune.models.sample_model import write_sample_model
from embedtune.models.tokenization import load_tokenizer
from tests.unit.segmenting import english


@pytest.fixture(scope="session")
def bert(sample_model: Path) -> Tokenizer:
    """Every Chinese character is a word of one token, every English word one of a token a letter."""
    return load_tokenizer(sample_model)


@pytest.fixture(scope="session")
def unigram(generated: list[str]) -> Tokenizer:
    """A small tokenizer as XLM-RoBERTa's: a word is what stands between spaces, Chinese sentences included."""
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.normalizer = normalizers.NFKC()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace()])
    trainer = trainers.UnigramTrainer(
        vocab_size=2000, special_tokens=["<s>", "</s>", "<unk>"], unk_token="<unk>", show_progress=False
    )
    tokenizer.train_from_iterator([*generated[:20], *english(20)], trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 1)]
    )
    return tokenizer


@pytest.fixture
def tokenizer(request: pytest.FixtureRequest) -> Tokenizer:
    return request.getfixturevalue(request.param)


@pytest.fixture(scope="session")
def generated(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Documents of the sample, of about 2,000 characters."""
    root = tmp_path_factory.mktemp("generated")
    write_sample(root, documents=60, queries={"train": 1}, seed=7)
    return [json.loads(line)["text"] for _, line in read_lines(root / "mldr-v1.0-zh" / "corpus.jsonl.gz")]


@pytest.fixture(scope="session")
def sample_source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sample's model as `base_model` finds it, not yet prepared."""
    directory = tmp_path_factory.mktemp("sample_source")
    write_sample_model(directory)
    return directory


@pytest.fixture
def source(sample_source: Path, tmp_path: Path) -> Path:
    """A copy of it, to be changed."""
    return Path(shutil.copytree(sample_source, tmp_path / "source"))
