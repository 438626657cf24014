"""The schema of params.yaml, and errors that name the key, the value found and what would be right.

Every key must be present: a default hidden in code would be a parameter that DVC cannot see and `dvc params diff`
cannot show. All problems of a file are reported together.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Hashable
from pathlib import Path
from typing import Annotated, Any, Literal

import pydantic
import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from embedtune.config_errors import Expected, explained
from embedtune.errors import EmbedTuneError, Problems
from embedtune.slice_names import BOUNDS, group_names


def _number(value: Any) -> Any:
    """PyYAML reads `2e-5` (no dot) as a string, and true as a bool that Python counts as 1: mend both."""
    if isinstance(value, bool):
        raise ValueError("not a number")
    if isinstance(value, str):
        value = float(value)
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError("not finite")
    return value


def _no(value: Any) -> Any:
    """YAML 1.1 reads an unquoted `no` as false, and `dvc exp run -S` writes it unquoted."""
    return "no" if value is False else value


_AsNumber = BeforeValidator(_number)
Share = Annotated[float, _AsNumber, Field(ge=0, le=1), Expected("a number from 0 to 1")]
AboveZeroToOne = Annotated[float, _AsNumber, Field(gt=0, le=1), Expected("a number above 0, at most 1")]
Positive = Annotated[float, _AsNumber, Field(gt=0), Expected("a number above 0")]
NotNegative = Annotated[float, _AsNumber, Field(ge=0), Expected("a number of 0 or more")]
Count = Annotated[int, _AsNumber, Field(ge=1), Expected("a whole number of 1 or more")]
WholeNumber = Annotated[int, _AsNumber, Field(ge=0), Expected("a whole number of 0 or more")]
Text = Annotated[str, Field(min_length=1), Expected("a text that is not empty")]
Precision = Literal["auto", "fp32", "fp16", "bf16"]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class SplitShares(_Section):
    train: Share
    dev: Share
    test: Share


class SampleSize(_Section):
    documents: Annotated[int, _AsNumber, Field(ge=10), Expected("a whole number of 10 or more")]
    train_queries: Count
    dev_queries: Count
    test_queries: Count


class Dataset(_Section):
    source: Literal["sample", "mldr", "local"]
    repository: Text
    language: Literal["ar", "de", "en", "es", "fr", "hi", "it", "ja", "ko", "pt", "ru", "th", "zh"]
    revision: Text
    path: Text
    format: Literal["mldr", "beir", "triplets", "pairs"]
    split_shares: SplitShares
    dev_queries: WholeNumber
    on_bad_row: Literal["fail", "skip"]
    remove_leaks: bool
    leak_similarity: AboveZeroToOne
    shuffle_train_questions: bool
    seed: WholeNumber
    sample: SampleSize


class Model(_Section):
    name: Text
    revision: Text
    path: Text
    pooling: Literal["cls", "mean", "last_token"]
    normalize: bool
    query_instruction: str
    passage_instruction: str


class Segment(_Section):
    max_tokens: Annotated[int, _AsNumber, Field(ge=8), Expected("a whole number of 8 or more")]
    overlap_tokens: WholeNumber
    boundaries: Literal["word", "sentence"]
    title_tokens: WholeNumber
    max_passages: Annotated[Count | None, Expected("a whole number of 1 or more, or null for all passages")]


class Encode(_Section):
    precision: Precision
    batch_tokens: Count
    query_max_len: Count


RankWindow = Annotated[tuple[Count, Count], Expected("two ranks [first, last], 1-based, such as [2, 20]")]
OpenRankWindow = Annotated[
    tuple[Count, Count | None] | None,
    Expected("null for the whole corpus, or two ranks [first, last] whose last may be null, such as [1000, null]"),
]


RoundName = Annotated[str, Field(pattern="^[a-z0-9][a-z0-9_]*$")]
Rounds = Annotated[
    dict[RoundName, RoundName],
    Field(min_length=1),
    Expected("rounds in lower case, each with the model it starts from, such as {finetuned: base, round2: finetuned}"),
]


class Mine(_Section):
    source: Literal["search", "dataset", "both"]
    negatives: WholeNumber
    hard_share: Share
    hard_ranks: RankWindow
    random_ranks: OpenRankWindow
    hard_draw: Literal["random", "top", "score"]
    draw_temperature: Positive
    max_score_ratio: Annotated[AboveZeroToOne | None, Expected("a number above 0, at most 1, such as 0.95, or null")]
    max_score_margin: Annotated[
        Annotated[float, _AsNumber] | None, Expected("a number such as 0.1 (above the positive) or -0.05, or null")
    ]
    near_duplicate_share: Annotated[
        AboveZeroToOne | None, Expected("a number above 0, at most 1, such as 0.8, or null")
    ]
    positive_passage: Literal["head", "best", "bm25", "fused", "reranker"]
    positives_per_document: Count
    positive_closeness: Share
    seed: WholeNumber


class Reranker(_Section):
    name: Text
    revision: Text
    path: Text
    max_len: Count
    batch_size: Count


class DevPool(_Section):
    top_documents: Count
    random_documents: WholeNumber
    seed: WholeNumber


Strategy = Annotated[Literal["no", "epoch", "steps"], BeforeValidator(_no)]
Processes = Annotated[Literal["auto"] | Count, Expected("auto (every GPU), or a whole number of 1 or more")]
MaybeCount = Annotated[Count | None, Expected("a whole number of 1 or more, or null")]


class Train(_Section):
    method: Literal["full", "lora", "qlora"]
    lora_r: Count
    lora_alpha: Count
    lora_dropout: Share
    lora_target_modules: Annotated[
        list[Text] | None, Expected("null for every linear layer, or a list of names such as [query, value]")
    ]
    qlora_bits: Annotated[Literal[4, 8], _AsNumber]
    num_train_epochs: Count
    per_device_train_batch_size: Count
    gradient_accumulation_steps: Count
    sub_batch_size: MaybeCount
    train_group_size: Count
    temperature: Positive
    negatives: Literal["group", "in_batch", "cross_device"]
    mask_false_negatives: bool
    false_negative_margin: Annotated[NotNegative | None, Expected("a number of 0 or more, or null")]
    distillation: bool
    matryoshka_dims: Annotated[list[Count], Expected("a list of sizes such as [64, 256], [] for the whole alone")]
    query_max_len: Count
    passage_max_len: Count
    learning_rate: Positive
    lr_scheduler_type: Literal["linear", "cosine", "constant", "constant_with_warmup"]
    warmup_ratio: Share
    weight_decay: NotNegative
    max_grad_norm: Positive
    precision: Precision
    gradient_checkpointing: bool
    group_by_length: bool
    dataloader_drop_last: bool
    dataloader_num_workers: WholeNumber
    nproc_per_node: Processes
    logging_steps: Count
    eval_strategy: Strategy
    eval_steps: Count
    metric_for_best_model: Literal["recall@10", "ndcg@10", "mrr@10"]
    early_stopping_patience: MaybeCount
    save_strategy: Strategy
    save_steps: Count
    save_total_limit: MaybeCount
    seed: WholeNumber


class Evaluate(_Section):
    split: Literal["train", "dev", "test"]
    cutoffs: Annotated[
        tuple[Count, ...], Field(min_length=1), Expected("a list of ranks of 1 or more, such as [1, 10, 100]")
    ]
    best_passages: Count
    index_search: str


BESIDE = ("bm25", "hybrid_ranks", "hybrid_scores")  # systems beside the models
RESERVED = (
    *("base", *BESIDE, "gain", "gain_standard_error"),  # in metrics/comparison.json
    *("calibration", "comparison", "data", "forgetting", "gate", "rounds"),  # files in metrics/
    *("local", "release", "reranker"),  # directories in models/
    *("reliability", "rejection"),  # files in metrics/plots/
)


RESAMPLES_BEYOND = 10  # at the least, that a bound leaves out


class Index(_Section):
    factory: Text
    shard_rows: Count
    train_rows: Count
    seed: WholeNumber


class Lexical(_Section):
    tokenizer: Literal["bigrams", "jieba"]
    k1: NotNegative
    b: Share
    depth: Count


class Hybrid(_Section):
    model: Text
    rank_constant: Count


class Compare(_Section):
    measures: (
        Annotated[list[Text], Field(min_length=1), Expected("measures such as [recall@10, ndcg@10], or null for all")]
        | None
    )
    confidence: Annotated[float, _AsNumber, Field(gt=0, lt=1), Expected("a number between 0 and 1, such as 0.95")]
    resamples: Annotated[int, _AsNumber, Field(ge=100), Expected("a whole number of 100 or more")]
    seed: WholeNumber


class GateRule(_Section):
    """What a measure's gain has to be, and how sure."""

    min_gain: Annotated[float, _AsNumber, Expected("a number such as 0.01, or -0.01 for a loss that may be")]
    confidence: Annotated[float, _AsNumber, Field(gt=0, lt=1), Expected("a number between 0 and 1, such as 0.95")]


Gate = Annotated[
    dict[str, GateRule],
    Expected(
        "rules such as {ndcg@10: {min_gain: 0.01, confidence: 0.95}}, of a slice {ndcg@10 in query_length=0-10: ...}, "
        "or {} for no gate"
    ),
]


class Calibrate(_Section):
    method: Literal["isotonic", "platt"]
    precision: AboveZeroToOne


class Probe(_Section):
    source: Literal["none", "local"]
    path: Text
    max_tokens: Annotated[int, _AsNumber, Field(ge=8), Expected("a whole number of 8 or more")]


class Mixing(_Section):
    """Which model is mixed with the base model, and the shares of it to try."""

    model: Text
    shares: Annotated[list[Share], Field(min_length=1), Expected("shares from 0 to 1 to try, such as [0, 0.5, 1]")]


Mix = Annotated[
    dict[RoundName, Mixing],
    Expected("mixtures in lower case, such as {mixed: {model: finetuned, shares: [0, 0.5, 1]}}, or {} for none"),
]


class Params(_Section):
    """params.yaml as typed values: one attribute a section, one attribute a key."""

    dataset: Dataset
    model: Model
    segment: Segment
    encode: Encode
    rounds: Rounds
    mine: Mine
    reranker: Reranker
    dev_pool: DevPool
    train: Train
    index: Index
    evaluate: Evaluate
    lexical: Lexical
    hybrid: Hybrid
    compare: Compare
    gate: Gate
    calibrate: Calibrate
    probe: Probe
    mix: Mix


def load_params(path: Path = Path("params.yaml")) -> Params:
    """Read and check params.yaml. Raises EmbedTuneError naming every key that is unknown, missing or wrong."""
    content = _read_yaml(path)
    problems = Problems()
    try:
        params = Params.model_validate(content)
    except pydantic.ValidationError as errors:
        for where, what in explained(errors, content, Params).items():
            problems.add(f"{path}: {where}", what)
        problems.raise_if_any()
        raise
    _check_together(params, path, problems)
    problems.raise_if_any()
    return params


class _UniqueKeyLoader(yaml.SafeLoader):
    """PyYAML keeps the last of two equal keys without a word; this refuses them."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[str] = set()
        for key_node, _ in node.value:
            if not isinstance(key_node, yaml.ScalarNode):
                raise yaml.MarkedYAMLError(problem="a key must be a name", problem_mark=key_node.start_mark)
            if key_node.value in seen:
                raise yaml.MarkedYAMLError(
                    problem=f"key '{key_node.value}' stands twice in one section", problem_mark=key_node.start_mark
                )
            seen.add(key_node.value)
        return super().construct_mapping(node, deep)


def _read_yaml(path: Path) -> Any:
    try:
        content = yaml.load(path.read_text(encoding="utf-8"), Loader=_UniqueKeyLoader)
    except FileNotFoundError as error:
        raise EmbedTuneError(f"{path}: no such file; run this in the project's root") from error
    except UnicodeDecodeError as error:
        raise EmbedTuneError(f"{path}: not UTF-8 text ({error}); save it as UTF-8") from error
    except yaml.MarkedYAMLError as error:
        line = f":{error.problem_mark.line + 1}" if error.problem_mark else ""
        raise EmbedTuneError(f"{path}{line}: not valid YAML: {error.problem}") from error
    except yaml.YAMLError as error:
        raise EmbedTuneError(f"{path}: not valid YAML: {error}") from error
    if not isinstance(content, dict):
        raise EmbedTuneError(f"{path}: expected sections such as `dataset:` and `train:`, got {content!r}")
    return content


def _check_together(params: Params, path: Path, problems: Problems) -> None:
    """Rules between keys."""

    def refuse(key: str, what: str) -> None:
        problems.add(f"{path}: {key}", what)

    shares = params.dataset.split_shares
    total = shares.train + shares.dev + shares.test
    if not math.isclose(total, 1, abs_tol=1e-6):
        refuse("dataset.split_shares", f"expected train + dev + test to be 1, got {total:g}")
    if params.segment.overlap_tokens * 2 > params.segment.max_tokens:
        refuse(
            "segment.overlap_tokens",
            f"expected at most half of segment.max_tokens ({params.segment.max_tokens}), "
            f"got {params.segment.overlap_tokens}",
        )
    for key, window in (("hard_ranks", params.mine.hard_ranks), ("random_ranks", params.mine.random_ranks)):
        if window is not None and window[1] is not None and window[0] > window[1]:
            refuse(f"mine.{key}", f"expected the first rank not to be above the last, got {list(window)}")
    earlier = ["base"]
    for name, start in params.rounds.items():
        if name in RESERVED:
            refuse(f"rounds.{name}", f"{name} is the name of another system; choose another")
        if start not in earlier:
            refuse(f"rounds.{name}", f"expected base or an earlier round ({', '.join(earlier)}), got {start}")
        earlier.append(name)
    for name, mixing in params.mix.items():
        if name in (*RESERVED, *params.rounds):
            refuse(f"mix.{name}", f"{name} is the name of another system; choose another")
        if mixing.model not in params.rounds:
            refuse(f"mix.{name}.model", f"expected one of rounds ({', '.join(params.rounds)}), got {mixing.model}")
    tuned = [*params.rounds, *params.mix]
    if params.hybrid.model not in tuned:
        refuse("hybrid.model", f"expected one of rounds and mix ({', '.join(tuned)}), got {params.hybrid.model}")
    for measure in params.compare.measures or ():
        _check_measure("compare.measures", measure, params, refuse)
    _check_resamples("compare.confidence", params.compare.confidence, 2, params, refuse)
    for name, rule in params.gate.items():
        _check_rule(name, rule, params, refuse)
    if params.train.train_group_size - 1 > params.mine.negatives:
        refuse(
            "train.train_group_size",
            f"expected at most mine.negatives + 1 ({params.mine.negatives + 1}: one positive and its negatives), "
            f"got {params.train.train_group_size}",
        )
    if params.train.distillation and params.train.train_group_size == 1:
        refuse("train.distillation", "expected false with train.train_group_size: 1, where there is nothing to score")
    if params.model.name not in ("sample", "local") and "/" not in params.model.name:
        refuse(
            "model.name",
            f"expected sample, local (the directory in model.path) or a hub id such as BAAI/bge-base-zh-v1.5, "
            f"got {params.model.name!r}",
        )
    if params.model.name.startswith((".", "/", "~")):
        refuse("model.name", f"for a model in a directory write `name: local` and `path: {params.model.name}`")


def _check_measure(key: str, measure: str, params: Params, refuse: Callable[[str, str], None]) -> None:
    measures = [f"{kind}@{cutoff}" for cutoff in params.evaluate.cutoffs for kind in ("recall", "ndcg", "mrr")]
    if measure not in measures:
        refuse(key, f"evaluate.cutoffs gives no measure {measure}, but {', '.join(measures)}")


def _check_rule(name: str, rule: GateRule, params: Params, refuse: Callable[[str, str], None]) -> None:
    """A rule on what `evaluate` will not measure should stop a run before it trains, not after."""
    measure, _, group = (part.strip() for part in name.partition(" in "))
    _check_measure(f"gate.{name}", measure, params, refuse)
    column, _, value = group.partition("=")
    if group and column not in BOUNDS:
        refuse(f"gate.{name}", f"expected a slice by {', '.join(BOUNDS)}, such as query_length=10-20")
    elif group and value not in group_names(column):
        refuse(f"gate.{name}", f"expected {column}= one of {', '.join(group_names(column))}")
    _check_resamples(f"gate.{name}.confidence", rule.confidence, 1, params, refuse)


def _check_resamples(
    key: str, confidence: float, sides: int, params: Params, refuse: Callable[[str, str], None]
) -> None:
    """Bounds on `sides` sides are quantiles of the resamples, which have to reach that far."""
    enough = math.ceil(round(RESAMPLES_BEYOND * sides / (1 - confidence), 6))
    if params.compare.resamples < enough:
        refuse(
            key,
            f"{params.compare.resamples:,} resamples (compare.resamples) are too few for {confidence:g}; "
            f"{enough:,} are enough",
        )


def main() -> None:
    """`python -m embedtune.config [file]`: check a parameter file without running anything."""
    path = Path(sys.argv[1] if len(sys.argv) > 1 else "params.yaml")
    try:
        params = load_params(path)
        problems = Problems()  # DVC would stop at a missing dependency with words of its own
        for key, dependency in (
            ("dataset.path", params.dataset.path),
            ("model.path", params.model.path),
            ("reranker.path", params.reranker.path),
            ("probe.path", params.probe.path),
        ):
            if not Path(dependency).exists():
                problems.add(f"{path}: {key}", f"{dependency} does not exist; give a directory or a file")
        problems.raise_if_any()
    except EmbedTuneError as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
