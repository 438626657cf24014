"""The types of values in params.yaml: what each allows, and how a message describes it."""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from embedtune.config.errors import Expected

# Bounds of what NumPy, torch, FAISS and trec_eval compute with, and of what ends within a day.
LARGEST_WHOLE = 2**31 - 1  # int32
LARGEST_SEED = 2**63 - 1  # int64
LARGEST_NUMBER = 1e30  # float32 ends at 3.4e38
LARGEST_RANK = 1_000_000
LARGEST_SAMPLE = 1_000_000  # documents or questions that the generated sample has
LARGEST_LORA_R = 8192  # wider than the layers of the largest embedding models
RESAMPLES_BEYOND = 10  # fewest resamples that must lie beyond a confidence bound
FEWEST_RESAMPLES, MOST_RESAMPLES = 100, 1_000_000


def as_typed_number(value: Any) -> Any:
    """Refuse what pydantic would turn into a number and DVC would not: a bool, a text such as "1e-5" in quotes.

    Raises ValueError for them, and for NaN and infinity.
    """
    if isinstance(value, (bool, str)):
        raise ValueError("not a number")
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError("not finite")
    return value


AsNumber = BeforeValidator(as_typed_number)
Share = Annotated[float, AsNumber, Field(ge=0, le=1), Expected("a number from 0 to 1")]
AboveZeroToOne = Annotated[float, AsNumber, Field(gt=0, le=1), Expected("a number above 0, at most 1")]
Positive = Annotated[float, AsNumber, Field(gt=0, le=LARGEST_NUMBER), Expected("a number above 0")]
NotNegative = Annotated[float, AsNumber, Field(ge=0, le=LARGEST_NUMBER), Expected("a number of 0 or more")]
Count = Annotated[int, AsNumber, Field(ge=1, le=LARGEST_WHOLE), Expected("a whole number of 1 or more")]
WholeNumber = Annotated[int, AsNumber, Field(ge=0, le=LARGEST_WHOLE), Expected("a whole number of 0 or more")]
Seed = Annotated[int, AsNumber, Field(ge=0, le=LARGEST_SEED), Expected("a whole number of 0 or more")]
Text = Annotated[
    str, Field(min_length=1, max_length=4096, pattern=r"^[^\x00-\x1f\x7f]*$"), Expected("a text that is not empty")
]
TrueOrFalse = Annotated[bool, Field(strict=True), Expected("true or false")]
Precision = Literal["auto", "fp32", "fp16", "bf16"]
Rank = Annotated[int, AsNumber, Field(ge=1, le=LARGEST_RANK), Expected("a whole number of 1 or more")]
SampleCount = Annotated[int, AsNumber, Field(ge=1, le=LARGEST_SAMPLE), Expected("a whole number of 1 or more")]
MaybeCount = Annotated[Count | None, Expected("a whole number of 1 or more, or null")]
RecipeCount = Annotated[Count | None, Expected("a whole number of 1 or more, or null for the recipe's")]
RecipePositive = Annotated[Positive | None, Expected("a number above 0, or null for the recipe's")]
Instruction = Annotated[str | None, Expected("a text, or null for the model's own")]
RankWindow = Annotated[tuple[Count, Count], Expected("two ranks [first, last], 1-based, such as [2, 20]")]
OpenRankWindow = Annotated[
    tuple[Count, Count | None] | None,
    Expected("null for the whole corpus, or two ranks [first, last] whose last may be null, such as [1000, null]"),
]
