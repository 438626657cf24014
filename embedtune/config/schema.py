"""The schema of params.yaml: one class per section, one attribute per key.

Every key must be present: a default hidden in code would be a parameter that DVC cannot see and `dvc params diff`
cannot show. Where a key may be null for the recipe's value, recipe.py has that value, and the stages that use it depend
on recipe.py.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from embedtune.config.errors import Expected
from embedtune.config.systems import (
    BESIDE,
    Fusions,
    Mixtures,
    Release,
    Rerankers,
    Rounds,
    Section,
    Systems,
    embedding_models,
)
from embedtune.config.types import (
    FEWEST_RESAMPLES,
    LARGEST_LORA_R,
    LARGEST_NUMBER,
    LARGEST_SAMPLE,
    LARGEST_WHOLE,
    MOST_RESAMPLES,
    AboveZeroToOne,
    AsNumber,
    Count,
    Instruction,
    MaybeCount,
    NotNegative,
    OpenRankWindow,
    Positive,
    Precision,
    Rank,
    RankWindow,
    RecipeCount,
    RecipePositive,
    SampleCount,
    Seed,
    Share,
    Text,
    TrueOrFalse,
    WholeNumber,
)


class SplitShares(Section):
    train: Share
    dev: Share
    test: Share


class SampleSize(Section):
    documents: Annotated[int, AsNumber, Field(ge=10, le=LARGEST_SAMPLE), Expected("a whole number of 10 or more")]
    train_queries: SampleCount
    dev_queries: SampleCount
    test_queries: SampleCount
    rows: SampleCount


class Dataset(Section):
    source: Literal["sample", "mldr", "local"]
    path: Text
    format: Literal["mldr", "beir", "triplets", "pairs", "scored"]
    split_by: Literal["auto", "document", "question"]
    split_shares: SplitShares
    dev_queries: WholeNumber
    repository: Text
    language: Literal["ar", "de", "en", "es", "fr", "hi", "it", "ja", "ko", "pt", "ru", "th", "zh"]
    revision: Text
    on_bad_row: Literal["fail", "skip"]
    relevant_from: Annotated[Positive | None, Expected("a number above 0, such as 0.5, or null for all above 0")]
    repeated: Literal["fail", "mean", "last"]
    remove_leaks: TrueOrFalse
    leak_similarity: AboveZeroToOne
    judge_equal_documents_alike: TrueOrFalse
    ignore_identical_text: TrueOrFalse
    shuffle_train_questions: TrueOrFalse
    seed: Seed
    sample: SampleSize


class Model(Section):
    name: Text
    path: Text
    pooling: Annotated[
        Literal["cls", "mean", "last_token"] | None,
        Expected("one of cls, mean, last_token, or null for the model's own"),
    ]
    query_instruction: Instruction
    passage_instruction: Instruction
    revision: Text
    normalize: Annotated[TrueOrFalse | None, Expected("true, false, or null for the model's own")]


class Segment(Section):
    max_tokens: Annotated[int, AsNumber, Field(ge=8, le=LARGEST_WHOLE), Expected("a whole number of 8 or more")]
    max_passages: Annotated[Count | None, Expected("a whole number of 1 or more, or null for all passages")]
    overlap_tokens: WholeNumber
    boundaries: Literal["word", "sentence"]
    title_tokens: WholeNumber


class Encode(Section):
    query_max_len: Count
    precision: Precision
    batch_tokens: Count


class Mine(Section):
    positive_passage: Literal["first", "best", "bm25", "fused", "teacher"]
    negatives: WholeNumber
    hard_share: Share
    hard_ranks: RankWindow
    random_ranks: OpenRankWindow
    source: Literal["search", "dataset", "both"]
    hard_draw: Literal["random", "top", "score"]
    draw_temperature: Positive
    max_score_ratio: Annotated[
        Literal["none"] | AboveZeroToOne | None,
        Expected("a number above 0, at most 1, such as 0.95, or none, or null for the recipe's"),
    ]
    max_score_margin: Annotated[
        Annotated[float, AsNumber, Field(ge=-LARGEST_NUMBER, le=LARGEST_NUMBER)] | None,
        Expected("a number such as 0.1 (above the positive) or -0.05, or null"),
    ]
    near_duplicate_share: Annotated[
        AboveZeroToOne | None, Expected("a number above 0, at most 1, such as 0.8, or null")
    ]
    positives_per_document: Count
    positive_closeness: Share
    teacher_margin: Annotated[
        Literal["none"] | Annotated[float, AsNumber, Field(ge=-LARGEST_NUMBER, le=LARGEST_NUMBER)],
        Expected("a number such as 0 (of logits), or none"),
    ]
    seed: Seed


Method = Literal["full", "lora", "qlora"]
Patience = Annotated[
    Literal["never"] | Count | None, Expected("a whole number of 1 or more, never, or null for the recipe's")
]


class DevPool(Section):
    top_documents: Count
    random_documents: WholeNumber
    seed: Seed


CONTRASTIVE = "contrastive"
Strategy = Literal["no", "epoch", "steps"]
Processes = Annotated[Literal["auto"] | Count, Expected("auto (every GPU), or a whole number of 1 or more")]


class Train(Section):
    method: Method
    recipe: Literal["auto", "pretrained", "from_scratch"]
    learning_rate: RecipePositive
    num_train_epochs: RecipeCount
    per_device_train_batch_size: RecipeCount
    train_group_size: RecipeCount
    temperature: RecipePositive
    query_max_len: Annotated[Count | None, Expected("a whole number of 1 or more, or null for encode.query_max_len")]
    passage_max_len: Annotated[Count | None, Expected("a whole number of 1 or more, or null for segment.max_tokens")]
    tokens_in_memory: Annotated[Count | None, Expected("a whole number of 1 or more, or null for what fits")]
    lora_r: Annotated[int, AsNumber, Field(ge=1, le=LARGEST_LORA_R), Expected("a whole number of 1 or more")]
    lora_alpha: Count
    lora_dropout: Share
    lora_target_modules: Annotated[
        list[Text] | None, Expected("null for every linear layer, or a list of names such as [query, value]")
    ]
    qlora_bits: Annotated[Literal[4, 8], AsNumber]
    gradient_accumulation_steps: Count
    negatives: Literal["group", "in_batch", "cross_device"]
    mask_false_negatives: TrueOrFalse
    false_negative_margin: Annotated[NotNegative | None, Expected("a number of 0 or more, or null")]
    objective: Literal["contrastive", "weighted_mse", "cosent", "bixse"]
    learn_scale: TrueOrFalse
    distillation: Literal["kl", "margin_mse"]
    distillation_share: Share
    teacher_temperature: Positive
    matryoshka_dims: Annotated[list[Count], Expected("a list of sizes such as [64, 256], [] for the whole alone")]
    lr_scheduler_type: Literal["linear", "cosine", "constant", "constant_with_warmup"]
    warmup_ratio: Annotated[Share | None, Expected("a number from 0 to 1, or null for the recipe's")]
    weight_decay: NotNegative
    max_grad_norm: Positive
    precision: Precision
    attention_dropout: Annotated[
        Literal["own"] | Share | None, Expected("a number from 0 to 1, own (the model's), or null for the recipe's")
    ]
    gradient_checkpointing: TrueOrFalse
    group_by_length: TrueOrFalse
    dataloader_drop_last: TrueOrFalse
    dataloader_num_workers: WholeNumber
    nproc_per_node: Processes
    logging_steps: Count
    eval_strategy: Strategy
    eval_steps: RecipeCount
    max_evaluation_share: Positive
    metric_for_best_model: Literal["recall@10", "ndcg@10", "mrr@10"]
    early_stopping_patience: Patience
    save_strategy: Strategy
    save_steps: Count
    save_total_limit: MaybeCount
    seed: Seed


class Evaluate(Section):
    split: Literal["train", "dev", "test"]
    cutoffs: Annotated[
        tuple[Rank, ...],
        Field(min_length=1, max_length=100),
        Expected("a list of ranks of 1 or more, such as [1, 10, 100]"),
    ]
    depth: Rank
    best_passages: Count
    index_search: str


class Index(Section):
    factory: Text
    shard_rows: Count
    train_rows: Count
    seed: Seed


class Lexical(Section):
    tokenizer: Literal["bigrams", "jieba"]
    k1: NotNegative
    b: Share


class Fuse(Section):
    rank_constant: Count


class Rerank(Section):
    max_len: RecipeCount
    learning_rate: RecipePositive
    num_train_epochs: RecipeCount
    per_device_train_batch_size: RecipeCount
    train_group_size: RecipeCount
    method: Method
    warmup_ratio: Annotated[Share | None, Expected("a number from 0 to 1, or null for the recipe's")]
    eval_steps: RecipeCount
    early_stopping_patience: Patience
    batch_tokens: Count


class Compare(Section):
    measures: (
        Annotated[list[Text], Field(min_length=1), Expected("measures such as [recall@10, ndcg@10], or null for all")]
        | None
    )
    confidence: Annotated[float, AsNumber, Field(gt=0, lt=1), Expected("a number between 0 and 1, such as 0.95")]
    resamples: Annotated[
        int,
        AsNumber,
        Field(ge=FEWEST_RESAMPLES, le=MOST_RESAMPLES),
        Expected(f"a whole number of {FEWEST_RESAMPLES} or more"),
    ]
    seed: Seed


class GateRule(Section):
    """The smallest gain that a measure must have, and the confidence required."""

    min_gain: Annotated[
        float, AsNumber, Field(ge=-1, le=1), Expected("a number such as 0.01, or -0.01 for a loss that may be")
    ]
    confidence: Annotated[float, AsNumber, Field(gt=0, lt=1), Expected("a number between 0 and 1, such as 0.95")]


Gate = Annotated[
    dict[str, GateRule],
    Expected(
        "rules such as {ndcg@10: {min_gain: 0.01, confidence: 0.95}}, of a slice {ndcg@10 in query_length=0-10: ...}, "
        "or {} for no gate"
    ),
]


class Calibrate(Section):
    precision: AboveZeroToOne
    method: Literal["isotonic", "platt"]


class GeneralData(Section):
    source: Literal["none", "local"]
    path: Text
    max_tokens: Annotated[int, AsNumber, Field(ge=8, le=LARGEST_WHOLE), Expected("a whole number of 8 or more")]


class Compute(Section):
    device: Annotated[
        str, Field(pattern="^(auto|cpu|cuda|cuda:[0-9]{1,3}|mps)$"), Expected("auto, cpu, cuda, cuda:N or mps")
    ]


class Params(Section):
    """params.yaml as typed values: one attribute per section."""

    dataset: Dataset
    model: Model
    segment: Segment
    encode: Encode
    rounds: Rounds
    mine: Mine
    dev_pool: DevPool
    train: Train
    index: Index
    evaluate: Evaluate
    lexical: Lexical
    mixtures: Mixtures
    fusions: Fusions
    fuse: Fuse
    rerankers: Rerankers
    rerank: Rerank
    systems: Systems
    release: Release
    compare: Compare
    gate: Gate
    calibrate: Calibrate
    general_data: GeneralData
    compute: Compute


def defined_systems(params: Params) -> list[str]:
    """The names of all systems: the embedding models, BM25, the fusions and the rerankers."""
    return [*embedding_models(params.rounds, params.mixtures), *BESIDE, *params.fusions, *params.rerankers]
