"""Prepare a base model's tokenizer: its tokenizer.json as its maker wrote it, in settings that any version loads.

transformers 5 rebuilds many tokenizers from their vocabulary and drops what else tokenizer.json says: a normaliser, an
end-of-text token. The file that is written here gives the tokens that the model was trained on, in embedtune, in
sentence-transformers and in transformers 4. What the written tokenizer does otherwise than the source's is said.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from embedtune.core import cli, json_files
from embedtune.core.errors import EmbedTuneError
from embedtune.models.tokenization import TOKENIZER, frame
from embedtune.models.tokenizer_json import (
    Content,
    as_tokenizer,
    lowers,
    parse_tokenizer,
    with_lower_case,
    with_special_token,
)

VOCABULARIES = (TOKENIZER, "vocab.txt", "vocab.json", "*.model", "*.tiktoken")  # a file that a tokenizer is made of
CONFIG = "tokenizer_config.json"
ANY_VERSION = "PreTrainedTokenizerFast"  # this class reads tokenizer.json as it is, in transformers 4 and 5
ONLY_5 = "TokenizersBackend"  # its name in transformers 5, which 4 does not know
SHOWN_TOKENS = 4
SIDES = ("padding_side", "truncation_side")
PROBES = (  # texts that show what a tokenizer does with case, accents, widths, spaces, digits and several scripts
    "A sentence in English, with Capitals and 1,234 figures.",
    "naïve café Ünïcödé\u3000ＡＢＣ１２３ ㎏ ﬁ ½",
    "  two  spaces\tand\nlines ",
    "今天天气很好，我们去公园。混合 text 文字",
    "हिन्दी भाषा ภาษาไทย العَرَبِيَّة 한국어 ひらがなカタカナ 😀",
)


def load_source_tokenizer(source: Path) -> PreTrainedTokenizerBase:
    """The tokenizer in the model directory `source`, as transformers loads it.

    Raises EmbedTuneError where there is none, and for one that needs code of its own. Errors of transformers pass.
    """
    if not any(path.is_file() for pattern in VOCABULARIES for path in source.glob(pattern)):
        raise EmbedTuneError(
            f"{source}: there is no tokenizer: no {', '.join(VOCABULARIES)}; copy the tokenizer's files from where the "
            "weights come from"
        )
    if _config(source).get("auto_map"):
        raise EmbedTuneError(
            f"{source}: the tokenizer brings code of its own (auto_map in {CONFIG}), which embedtune does not run; "
            f"choose another model, or, where {TOKENIZER} gives the same tokens, take auto_map out in a local copy"
        )
    return AutoTokenizer.from_pretrained(source, local_files_only=True, trust_remote_code=False)


def write_tokenizer(
    tokenizer: PreTrainedTokenizerBase, source: Path, target: Path, *, rows: int, lower_case: bool, last_token: bool
) -> None:
    """Write the tokenizer of `source` to the directory `target`, and say on stderr what it does otherwise.

    `tokenizer` is what `load_source_tokenizer` gave. `rows` is the number of the model's token embeddings. With
    `lower_case`, texts are turned into lower case first. `last_token` says that the model pools a text's last token.
    Raises EmbedTuneError for tokens that have no embedding, for settings that contradict each other, for a tokenizer
    without a token to pad with, and where the written files give other tokens than the source's.
    """
    own = source / TOKENIZER
    text = own.read_text(encoding="utf-8") if own.is_file() else tokenizer.backend_tokenizer.to_str()
    content = parse_tokenizer(text, own)
    _check_case(source, content.get("normalizer"))
    changed = {**content, "padding": None, "truncation": None}  # transformers sets both anew for each batch
    changed = _with_asked_token(changed, source, "add_bos_token", tokenizer.bos_token, first=True)
    changed = _with_asked_token(changed, source, "add_eos_token", tokenizer.eos_token, first=False)
    if lower_case and not lowers(changed):
        changed = with_lower_case(changed)
        cli.say(f"base_model: {TOKENIZER} turns texts into lower case, as do_lower_case of the model's files says")
    expected = as_tokenizer(changed, own)
    _refuse_tokens_without_rows(source, expected, rows)
    if last_token and not len(frame(expected).suffix):
        cli.say(
            "base_model: the tokenizer puts no token after a text, so that the vector is that of the text's last word "
            f"piece; where the model was trained with an end-of-text token, write add_eos_token: true in {CONFIG}"
        )
    _complete(tokenizer, source)
    tokenizer.save_pretrained(target)
    if changed == content and own.is_file():
        shutil.copyfile(own, target / TOKENIZER)
    else:
        (target / TOKENIZER).write_text(json.dumps(changed, ensure_ascii=False, indent=2), encoding="utf-8")
    _write_config(target, expected)


def _with_asked_token(content: Content, source: Path, flag: str, token: str | None, *, first: bool) -> Content:
    """The tokenizer with the special token that `flag` of tokenizer_config.json asks for, at the start or end of texts.

    transformers 4 added it for Llama's, Mistral's and Gemma's tokenizers; transformers 5 does not.
    """
    asked = _config(source).get(flag)
    if asked is None or token is None:
        return content
    tokenizer = as_tokenizer(content, source / TOKENIZER)
    number, around = tokenizer.token_to_id(token), frame(tokenizer)
    if number is None or bool(asked) == (number in (around.prefix if first else around.suffix)):
        return content
    if not asked:
        raise EmbedTuneError(
            f"{source}: {CONFIG} says {flag}: false, and {TOKENIZER} adds {token} all the same; make the two agree in "
            f"a local copy: write {flag}: true where the model was trained with it"
        )
    cli.say(f"base_model: {TOKENIZER} adds {token} to each text, as {flag} of the model's {CONFIG} says")
    return with_special_token(content, token, number, first=first)


def _check_case(source: Path, normalizer: dict[str, Any] | None) -> None:
    """Raise EmbedTuneError where the two files of a BERT tokenizer differ on lower case: which counts is unknown."""
    said = _config(source).get("do_lower_case")
    found = (normalizer or {}).get("lowercase")
    if said is not None and found is not None and bool(said) != bool(found):
        raise EmbedTuneError(
            f"{source}: {CONFIG} says do_lower_case: {str(bool(said)).lower()}, and the normaliser in {TOKENIZER} says "
            f"lowercase: {str(bool(found)).lower()}; make the two agree in a local copy"
        )


def _config(source: Path) -> dict[str, Any]:
    return json_files.read_json_object(source / CONFIG) if (source / CONFIG).is_file() else {}


def _refuse_tokens_without_rows(source: Path, tokenizer: Tokenizer, rows: int) -> None:
    beyond = sorted((number, token) for token, number in tokenizer.get_vocab().items() if number >= rows)
    if beyond:
        named = ", ".join(f"{token} ({number})" for number, token in beyond[:3])
        raise EmbedTuneError(
            f"{source}: the tokenizer has {len(beyond)} tokens that the model has no embedding for, such as {named}; "
            f"its embeddings are of tokens 0 to {rows - 1}; resize them in a local copy "
            "(model.resize_token_embeddings(len(tokenizer)) in transformers), or take the tokens out of the tokenizer"
        )


def _complete(tokenizer: PreTrainedTokenizerBase, source: Path) -> None:
    """Give the tokenizer a token to pad with, and the sides that embedtune trains with."""
    if tokenizer.pad_token is None:
        if tokenizer.eos_token is None:
            raise EmbedTuneError(
                f"{source}: the tokenizer has no padding token, without which texts cannot share a batch, and no "
                f"end-of-text token to use instead; name one of its tokens as pad_token in {CONFIG}"
            )
        tokenizer.pad_token = tokenizer.eos_token
        cli.say(f"base_model: the tokenizer has no padding token; {tokenizer.pad_token}, its end-of-text token, pads")
    for side in SIDES:
        if getattr(tokenizer, side) != "right":
            setattr(tokenizer, side, "right")
            cli.say(
                f"base_model: {side} of {CONFIG} becomes right: embedtune trains and encodes with texts so laid out"
            )


def _write_config(target: Path, expected: Tokenizer) -> None:
    """Make tokenizer_config.json load in transformers 4 too, and give the tokens of `expected` there and in 5."""
    path = target / CONFIG
    config = json_files.read_json(path)
    if config.get("tokenizer_class") == ONLY_5:
        config["tokenizer_class"] = ANY_VERSION
    if isinstance(config.get("extra_special_tokens"), list):  # transformers 4 expects a mapping under this name
        config["additional_special_tokens"] = config.pop("extra_special_tokens")
    _write(path, config)
    difference = _difference(target, expected)
    if difference and config["tokenizer_class"] != ANY_VERSION:
        cli.say(
            f"base_model: the tokenizer class {config['tokenizer_class']} reads texts otherwise than the model's "
            f"{TOKENIZER} ({difference}); models/base keeps to the file, as class {ANY_VERSION}"
        )
        config["tokenizer_class"] = ANY_VERSION
        _write(path, config)
        difference = _difference(target, expected)
    if difference:
        raise EmbedTuneError(
            f"{target}: transformers gives other tokens than the model's {TOKENIZER}: {difference}; write the "
            "tokenizer anew with the version of transformers that the model was trained with"
        )


def _write(path: Path, config: dict[str, Any]) -> None:
    path.write_text(json.dumps(config, indent=2, ensure_ascii=False, sort_keys=True) + "\n", encoding="utf-8")


def _difference(directory: Path, expected: Tokenizer) -> str:
    """Where transformers' tokens of a text differ from those of `expected`; "" where they never do."""
    loaded = AutoTokenizer.from_pretrained(directory, local_files_only=True, trust_remote_code=False)
    for text in PROBES:
        theirs, ours = loaded(text).input_ids, expected.encode(text).ids
        if theirs != ours:
            same = next((i for i, (a, b) in enumerate(zip(theirs, ours, strict=False)) if a != b), len(ours))
            there, here = (
                [expected.id_to_token(token) for token in ids[same : same + SHOWN_TOKENS]] for ids in (theirs, ours)
            )
            return f"{text!r} gives {there} there, {here} here"
    return ""
