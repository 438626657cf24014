"""What a model's own files say about how it embeds: those of sentence-transformers, beside its weights.

A person's value has to agree with them. A value of None takes theirs.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from embedtune.core import json_files
from embedtune.core.errors import EmbedTuneError, ParameterError
from embedtune.models.settings import Settings, pooling_modes

MODULES = ("Transformer", "Pooling", "Normalize")  # of sentence-transformers, that embedtune can train
PROMPTS = {
    "query": ("query",),
    "passage": ("document", "passage", "corpus"),
}  # names, as sentence-transformers looks them up

T = TypeVar("T")


@dataclass(frozen=True)
class OwnSettings:
    """How a model embeds by its own files. None, and an empty instruction: they say nothing of it.

    `max_tokens` is their `max_seq_length`. With `lower_case`, sentence-transformers turns a text into lower case before
    it is tokenised. Without `pools_instruction`, the tokens of an instruction are left out of the pooling. The other
    fields are those of `Settings`.
    """

    pooling: str | None = None
    pooling_file: str = "1_Pooling/config.json"
    normalize: bool | None = None
    query_instruction: str = ""
    passage_instruction: str = ""
    max_tokens: int | None = None
    lower_case: bool = False
    pools_instruction: bool = True


def read_own_settings(source: Path) -> OwnSettings:
    """What the sentence-transformers files in the model directory `source` say; nothing where there are none.

    Raises EmbedTuneError for files that are not as sentence-transformers writes them, for modules that embedtune cannot
    train, and for more than one way of pooling.
    """
    try:
        return _read_files(source)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise EmbedTuneError(
            f"{source}: its files for sentence-transformers (modules.json and those it names) are not as that writes "
            f"them ({type(error).__name__}: {error}); copy them anew, or delete them in a local copy"
        ) from error


def _read_files(source: Path) -> OwnSettings:
    modules = _read(source / "modules.json", [])
    _refuse_other_modules(source, modules)
    places = [module["path"] for module in modules if _kind(module) == "Pooling"] or ["1_Pooling"]
    pooling_file = f"{places[0]}/config.json"
    pooling = _read(source / pooling_file, {})
    modes = pooling_modes(pooling)
    if len(modes) > 1 or (pooling and not modes):
        raise EmbedTuneError(
            f"{source}: its {pooling_file} pools by {', '.join(modes) or 'no known way'}; embedtune can train one of "
            "cls, mean and last_token"
        )
    config = _read(source / "config_sentence_transformers.json", {})
    transformer = _read(_transformer_file(source), {})
    return OwnSettings(
        pooling=modes[0] if modes else None,
        pooling_file=pooling_file,
        normalize=_normalizes(modules, config) if modules else None,
        query_instruction=_prompt(config, "query"),
        passage_instruction=_prompt(config, "passage"),
        max_tokens=int(transformer.get("max_seq_length") or 0) or None,
        lower_case=bool(transformer.get("do_lower_case")),
        pools_instruction=bool(pooling.get("include_prompt", True)),
    )


def agreed_settings(
    own: OwnSettings,
    *,
    pooling: str | None,
    normalize: bool | None,
    query_instruction: str | None,
    passage_instruction: str | None,
    max_tokens: int,
) -> Settings:
    """The settings that a person's values and the model's own files agree on; None takes the files' value.

    Where the files say nothing, None gives normalised vectors and no instruction. `max_tokens` is what the weights and
    the tokenizer can read; the files may say fewer. Raises ParameterError where a value contradicts the files, and for
    `pooling` None where they name none.
    """
    if pooling is None and own.pooling is None:
        raise ParameterError(
            "pooling",
            f"null takes the model's own, and the model has no {own.pooling_file}; write cls, mean or last_token, as "
            "its card says",
        )
    prompts_file = "config_sentence_transformers.json"
    settings = Settings(
        pooling=_agreed("pooling", pooling, own.pooling, own.pooling_file) or "",
        normalize=_agreed("normalize", normalize, own.normalize, "modules.json") is not False,
        query_instruction=_agreed("query_instruction", query_instruction, own.query_instruction or None, prompts_file)
        or "",
        passage_instruction=_agreed(
            "passage_instruction", passage_instruction, own.passage_instruction or None, prompts_file
        )
        or "",
        max_tokens=min(max_tokens, own.max_tokens or max_tokens),
    )
    if not own.pools_instruction and (settings.query_instruction or settings.passage_instruction):
        raise EmbedTuneError(
            f"the model leaves its instruction out of the pooling (include_prompt: false in {own.pooling_file}), which "
            "embedtune cannot train; choose another model, or take that line out of the file in a local copy"
        )
    return settings


def _agreed(parameter: str, value: T | None, own: T | None, file: str) -> T | None:
    """The person's value if there is one, else the model's own. Raises ParameterError where they contradict."""
    if value is None or own is None or value == own:
        return own if value is None else value
    raise ParameterError(
        parameter,
        f"expected {_shown(own)}, as the model's own {file} says, got {_shown(value)}; write null to take the "
        "model's own; to go against it, change that file in a local copy",
    )


def _shown(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return repr(value) if value == "" or (isinstance(value, str) and not value.isidentifier()) else str(value)


def _normalizes(modules: list[dict[str, Any]], config: dict[str, Any]) -> bool:
    """Whether a model compares vectors of length 1: it normalises them, or its similarity, cosine by default, does."""
    if any(_kind(module) == "Normalize" for module in modules):
        return True
    return (config.get("similarity_fn_name") or "cosine") == "cosine"


def _prompt(config: dict[str, Any], kind: str) -> str:
    """The instruction for queries or passages, as `encode_query` and `encode_document` find it; "" if there is none."""
    prompts = config.get("prompts") or {}
    names = [name for name in PROMPTS[kind] if prompts.get(name) is not None]
    return str(prompts[names[0]] if names else prompts.get(config.get("default_prompt_name")) or "")


def _transformer_file(source: Path) -> Path:
    """sentence_bert_config.json, or its name for another architecture, such as sentence_roberta_config.json."""
    return next(iter(sorted(source.glob("sentence_*_config.json"))), source / "sentence_bert_config.json")


def _kind(module: dict[str, Any]) -> str:
    return str(module["type"]).rsplit(".", 1)[-1]


def _refuse_other_modules(source: Path, modules: list[dict[str, Any]]) -> None:
    others = [_kind(module) for module in modules if _kind(module) not in MODULES]
    if others:
        raise EmbedTuneError(
            f"{source}: the model has modules of type {', '.join(others)}, which embedtune cannot train; choose "
            "one that ends in pooling and normalisation"
        )
    own_code = [module["type"] for module in modules if not str(module["type"]).startswith("sentence_transformers.")]
    if own_code:
        raise EmbedTuneError(
            f"{source}: the model brings code of its own for its modules ({', '.join(own_code)} in modules.json), "
            "which embedtune does not run; choose a model without such code"
        )


def _read(path: Path, default: Any) -> Any:
    return json_files.read_json(path) if path.is_file() else default
