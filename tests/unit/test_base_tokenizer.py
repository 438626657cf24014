"""A base model's tokenizer: the tokens that it was trained on, a token to pad with, and none without an embedding."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from transformers import (
    AutoTokenizer,
    GPT2Config,
    GPT2Model,
    LlamaConfig,
    LlamaModel,
    PreTrainedTokenizerFast,
    XLMRobertaConfig,
    XLMRobertaModel,
)

from embedtune.core.errors import EmbedTuneError
from embedtune.models.base_model import prepare_model
from embedtune.models.base_tokenizer import PROBES
from embedtune.models.sample_model import write_sample_model
from embedtune.models.settings import Settings
from embedtune.models.tokenization import frame, load_tokenizer

GIVEN = {"pooling": "last_token", "normalize": True, "query_instruction": "", "passage_instruction": ""}
BYTES = sorted(pre_tokenizers.ByteLevel.alphabet())
SPECIAL = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>", "pad_token": "<pad>"}


def write_decoder(
    root: Path, template: str, config: dict[str, Any], kind: str = "llama", rows: int = len(BYTES) + 4
) -> Path:
    """A tiny decoder of random weights, its tokenizer byte by byte, with `config` as its tokenizer_config.json."""
    vocabulary = {token: i for i, token in enumerate(["<unk>", "<s>", "</s>", "<pad>", *BYTES])}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[], unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = processors.TemplateProcessing(single=template, special_tokens=[("<s>", 1), ("</s>", 2)])
    source = root / "source"
    source.mkdir()
    tokenizer.add_special_tokens(["<unk>", "<s>", "</s>", "<pad>"])
    tokenizer.save(str(source / "tokenizer.json"))
    (source / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "PreTrainedTokenizerFast"} | config))
    torch.manual_seed(0)
    if kind == "llama":
        LlamaModel(
            LlamaConfig(
                vocab_size=rows, hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2,
                num_key_value_heads=2, max_position_embeddings=64,
            )
        ).save_pretrained(source)  # fmt: skip
    else:
        GPT2Model(GPT2Config(vocab_size=rows, n_embd=16, n_layer=1, n_head=2, n_positions=64)).save_pretrained(source)
    return source


def prepare(source: Path, **given: Any) -> Settings:
    target = source.parent / "target"
    target.mkdir(exist_ok=True)
    return prepare_model(source, target, **{**GIVEN, **given})


def tokens(directory: Path, text: str) -> list[str]:
    """The tokens of the directory's tokenizer.json, which have to be those of transformers' own loading."""
    found: list[str] = load_tokenizer(directory).encode(text).tokens
    loaded = AutoTokenizer.from_pretrained(directory)
    assert load_tokenizer(directory).encode(text).ids == loaded(text).input_ids
    return found


@pytest.mark.parametrize("flag", ["add_eos_token", "add_bos_token"])
def test_a_special_token_that_the_settings_ask_for_is_added_and_said(
    tmp_path: Path, flag: str, capfd: pytest.CaptureFixture[str]
) -> None:
    """As with the 7B decoders that last-token pooling is used with: transformers 5 no longer adds their </s>."""
    template = "<s> $A" if flag == "add_eos_token" else "$A </s>"
    source = write_decoder(tmp_path, template, {**SPECIAL, flag: True})
    prepare(source)
    assert tokens(source.parent / "target", "ab") == ["<s>", "a", "b", "</s>"]
    assert f"as {flag} of the model's tokenizer_config.json says" in capfd.readouterr().err
    around = frame(load_tokenizer(source.parent / "target"))
    assert (around.prefix.tolist(), around.suffix.tolist()) == ([1], [2])


def test_a_special_token_that_both_files_name_is_added_once(tmp_path: Path) -> None:
    source = write_decoder(tmp_path, "<s> $A </s>", {**SPECIAL, "add_eos_token": True, "add_bos_token": True})
    prepare(source)
    assert tokens(source.parent / "target", "ab") == ["<s>", "a", "b", "</s>"]
    written = (source.parent / "target" / "tokenizer.json").read_bytes()
    assert written == (source / "tokenizer.json").read_bytes()


def test_a_special_token_that_the_settings_refuse_and_the_file_adds_is_refused(tmp_path: Path) -> None:
    source = write_decoder(tmp_path, "<s> $A </s>", {**SPECIAL, "add_eos_token": False})
    with pytest.raises(EmbedTuneError, match=r"says add_eos_token: false, and tokenizer.json adds </s> all the same"):
        prepare(source)


def test_last_token_pooling_without_a_last_special_token_is_said(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    source = write_decoder(tmp_path, "<s> $A", SPECIAL)
    prepare(source, pooling="mean")
    assert capfd.readouterr().err == ""
    prepare(source)
    assert "the tokenizer puts no token after a text" in capfd.readouterr().err


def test_the_end_of_text_token_pads_where_there_is_no_padding_token(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    source = write_decoder(tmp_path, "<s> $A </s>", {"bos_token": "<s>", "eos_token": "</s>"})
    prepare(source)
    assert AutoTokenizer.from_pretrained(source.parent / "target").pad_token == "</s>"
    assert "no padding token; </s>, its end-of-text token, pads" in capfd.readouterr().err


def test_a_tokenizer_without_any_token_to_pad_with_is_refused(tmp_path: Path) -> None:
    source = write_decoder(tmp_path, "<s> $A", {"bos_token": "<s>"})
    with pytest.raises(EmbedTuneError, match="no padding token, without which texts cannot share a batch"):
        prepare(source)


def test_texts_are_padded_and_cut_on_the_right(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    sides = {"padding_side": "left", "truncation_side": "left"}
    source = write_decoder(tmp_path, "$A </s>", {**SPECIAL, **sides}, kind="gpt2")
    prepare(source)
    written = AutoTokenizer.from_pretrained(source.parent / "target")
    assert (written.padding_side, written.truncation_side) == ("right", "right")
    said = capfd.readouterr().err
    assert all(f"{side} of tokenizer_config.json becomes right" in said for side in sides)


def test_tokens_without_an_embedding_are_refused_by_name(tmp_path: Path) -> None:
    source = write_decoder(tmp_path, "<s> $A </s>", SPECIAL)
    tokenizer = Tokenizer.from_file(str(source / "tokenizer.json"))
    tokenizer.add_tokens(["剧院", "医院"])
    tokenizer.save(str(source / "tokenizer.json"))
    with pytest.raises(
        EmbedTuneError, match=r"2 tokens .* such as 剧院 \(260\), 医院 \(261\); its embeddings .* 0 to 259;"
    ):
        prepare(source)


def test_a_model_without_a_tokenizer_is_refused(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    write_sample_model(source)
    for name in ("tokenizer.json", "vocab.txt"):
        (source / name).unlink()
    with pytest.raises(EmbedTuneError, match=r"there is no tokenizer: no tokenizer\.json, vocab\.txt"):
        prepare(source, pooling="mean")


@pytest.mark.parametrize("text", ["{", '{"model": {"type": "WordPiece"}}'])
def test_a_tokenizer_file_that_cannot_be_read_is_refused(tmp_path: Path, text: str) -> None:
    source = tmp_path / "source"
    source.mkdir()
    write_sample_model(source)
    (source / "tokenizer.json").write_text(text)
    with pytest.raises(EmbedTuneError, match="tokenizer"):
        prepare(source, pooling="mean")


def test_a_tokenizer_with_code_of_its_own_is_refused_without_a_question(tmp_path: Path) -> None:
    source = write_decoder(tmp_path, "$A </s>", {**SPECIAL, "auto_map": {"AutoTokenizer": ["own.Tokens", None]}})
    with pytest.raises(EmbedTuneError, match="the tokenizer brings code of its own"):
        prepare(source)


def test_files_that_differ_on_lower_case_are_refused(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    write_sample_model(source)
    config = json.loads((source / "tokenizer_config.json").read_text())
    (source / "tokenizer_config.json").write_text(json.dumps(config | {"do_lower_case": False}))
    with pytest.raises(EmbedTuneError, match=r"says do_lower_case: false, and the normaliser .* lowercase: true"):
        prepare(source, pooling="mean")


def test_a_normaliser_that_transformers_drops_is_kept(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """transformers 5 rebuilds XLM-R's tokenizer from its vocabulary; another normaliser than its own is lost."""
    letters = dict.fromkeys(["<s>", "<pad>", "</s>", "<unk>", "▁", *"ABC123abc今天天气，", "<mask>"])
    tokenizer = Tokenizer(models.Unigram([(token, -2.0 - i / 100) for i, token in enumerate(letters)], unk_id=3))
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Lowercase()])
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace()])
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 2)]
    )
    source = tmp_path / "source"
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, **SPECIAL, cls_token="<s>", sep_token="</s>", mask_token="<mask>"
    ).save_pretrained(source)
    config = json.loads((source / "tokenizer_config.json").read_text())
    (source / "tokenizer_config.json").write_text(json.dumps(config | {"tokenizer_class": "XLMRobertaTokenizer"}))
    XLMRobertaModel(
        XLMRobertaConfig(
            vocab_size=40, hidden_size=16, num_hidden_layers=1, num_attention_heads=1, intermediate_size=16,
            max_position_embeddings=66, pad_token_id=1,
        )
    ).save_pretrained(source)  # fmt: skip
    dropped = AutoTokenizer.from_pretrained(source)
    right = tokenizer.encode("ＡＢＣ１２３").tokens
    assert dropped("ＡＢＣ１２３").input_ids != tokenizer.encode("ＡＢＣ１２３").ids, "transformers has mended it"
    prepare(source, pooling="mean")
    assert tokens(source.parent / "target", "ＡＢＣ１２３") == right == ["<s>", "▁", *"abc123", "</s>"]
    assert "XLMRobertaTokenizer reads texts otherwise than the model's tokenizer.json" in capfd.readouterr().err
    assert all(tokens(source.parent / "target", text) == tokenizer.encode(text).tokens for text in PROBES)


def test_the_tokenizer_class_is_one_that_transformers_4_knows(tmp_path: Path) -> None:
    """Its names were asked of transformers 4.57: TokenizersBackend is not among them, PreTrainedTokenizerFast is."""
    extra = {"tokenizer_class": "TokenizersBackend", "additional_special_tokens": ["<unk>"]}
    source = write_decoder(tmp_path, "<s> $A </s>", {**SPECIAL, **extra})
    prepare(source)
    config = json.loads((source.parent / "target" / "tokenizer_config.json").read_text())
    assert config["tokenizer_class"] == "PreTrainedTokenizerFast"
    assert config["additional_special_tokens"] == ["<unk>"] and "extra_special_tokens" not in config
    model = json.loads((source.parent / "target" / "config.json").read_text())
    assert model["rope_theta"] == model["rope_parameters"]["rope_theta"] == 10000.0
