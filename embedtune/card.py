"""The model's card: README.md in Hugging Face's format, with what it was trained on and how well it does."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import yaml

if TYPE_CHECKING:  # publish.py has no use for them, and torch and the hub's library take seconds to load
    from huggingface_hub import ModelCardData

    from embedtune.model import Settings

LIBRARY = "sentence-transformers"
PATH = "models/release"  # where the model lies; publish.py puts the repository's name in its place


@dataclass(frozen=True)
class Facts:
    """What the card says of the run.

    `base_model` and `base_revision`: the model tuned and its commit, None where it is not of a hub. `data`: the data
    set in a word or two; `repository`, its id, `language` and `revision` on the hub, None for other data. `split`: the
    one evaluated. `origin`: sentences on how the weights came about. `params`: sections of params.yaml.
    """

    base_model: str
    base_revision: str | None
    data: str
    repository: str | None
    language: str | None
    revision: str | None
    split: str
    confidence: float
    origin: str
    params: Mapping[str, Any]


@dataclass(frozen=True)
class Found:
    """What was measured: metrics/data.json; by measure the base model's and this model's means, this model's interval
    and its gain over base (see significance.py); data/calibration.json and metrics/calibration.json."""

    data: Mapping[str, Any]
    base: Mapping[str, float]
    tuned: Mapping[str, float]
    intervals: Mapping[str, Mapping[str, float]]
    gains: Mapping[str, Mapping[str, float]]
    calibration: Mapping[str, Any]
    calibrated: Mapping[str, Any]


def card(facts: Facts, settings: Settings, found: Found) -> str:
    """The text of the card."""
    name = f"embedtune-{facts.base_model.split('/')[-1]}"
    percent = f"{100 * facts.confidence:g} %"
    rows = [
        f"| {measure} | {found.base[measure]:.4f} | {found.tuned[measure]:.4f} ({own['low']:.3f} to {own['high']:.3f}) "
        f"| {gain['difference']:+.4f} ({gain['low']:+.4f} to {gain['high']:+.4f}) |"
        for measure, own, gain in ((m, found.intervals[m], found.gains[m]) for m in found.gains)
    ]
    revision = f" (revision `{facts.revision}`)" if facts.revision else ""
    base_revision = f" (revision `{facts.base_revision}`)" if facts.base_revision else ""
    lines = [
        *("---", _metadata(facts, name, found.tuned).to_yaml().strip(), "---", ""),
        *(f"# {name}", ""),
        f"`{facts.base_model}`{base_revision} fine-tuned for retrieval with embedtune on {facts.data}{revision}: "
        f"{found.data['train_queries']:,} training questions, {found.data['documents']:,} documents. {facts.origin}",
        *("", f"## Measured on {found.data[f'{facts.split}_queries']:,} {facts.split} questions", ""),
        f"| measure | base | this model ({percent} interval) | gain ({percent} interval) |",
        *("| --- | --- | --- | --- |", *rows, ""),
        *("## Use", "", *_usage(settings), ""),
        *("## What a score means", "", *_scores(found.calibration, found.calibrated, facts), ""),
        *("## Parameters", "", "<details><summary>params.yaml</summary>", "", "```yaml"),
        yaml.safe_dump(dict(facts.params), allow_unicode=True, sort_keys=False).rstrip(),
        *("```", "", "</details>", ""),
    ]
    return "\n".join(lines)


def _metadata(facts: Facts, name: str, means: Mapping[str, float]) -> ModelCardData:
    from huggingface_hub import EvalResult, ModelCardData

    results = [
        EvalResult(
            task_type="information-retrieval",
            task_name="Information Retrieval",
            dataset_type=facts.repository or facts.data,
            dataset_name=f"{facts.data} ({facts.split})",
            dataset_config=facts.language,
            dataset_split=facts.split,
            dataset_revision=facts.revision,
            metric_type=measure,
            metric_value=round(value, 4),
        )
        for measure, value in means.items()
    ]
    return ModelCardData(
        language=facts.language,
        library_name=LIBRARY,
        pipeline_tag="sentence-similarity",
        tags=["sentence-transformers", "feature-extraction", "embedtune"],
        base_model=facts.base_model if "/" in facts.base_model else None,
        datasets=[facts.repository] if facts.repository else None,
        model_name=name,
        eval_results=results,
    )


def _usage(settings: Settings) -> list[str]:
    decoder = settings.pooling == "last_token"
    name = "FlagLLMModel" if decoder else "FlagModel"
    given: dict[str, Any] = {} if decoder else {"pooling_method": settings.pooling}
    given |= {"normalize_embeddings": settings.normalize}
    given |= {"query_instruction_for_retrieval": settings.query_instruction or None}
    given |= {"query_instruction_format": "{}{}"} if decoder else {}
    if settings.passage_instruction:
        given |= {"passage_instruction_for_retrieval": settings.passage_instruction}
    arguments = [f'    "{PATH}",', *(f"    {key}={value!r}," for key, value in given.items())]
    return [
        "```python",
        "from sentence_transformers import SentenceTransformer",
        "",
        f'model = SentenceTransformer("{PATH}")  # pooling, normalisation and instructions come with it',
        'scores = model.encode_query(["..."]) @ model.encode_document(["..."]).T',
        "```",
        "",
        "```python",
        f"from FlagEmbedding import {name}",
        "",
        f"model = {name}(",
        *arguments,
        ")",
        'scores = model.encode_queries(["..."]) @ model.encode_corpus(["..."]).T',
        "```",
    ]


def _scores(calibration: Mapping[str, Any], calibrated: Mapping[str, Any], facts: Facts) -> list[str]:
    if "method" not in calibration:
        return [f"{calibration['dev_questions']} dev questions were too few to learn it."]
    how = (
        "1 / (1 + exp(-(`scale` * score + `shift`)))"
        if calibration["method"] == "platt"
        else "interpolate `probabilities` over `scores`"
    )
    count = calibration["best_passages"]
    score = "its best passage's" if count == 1 else f"the mean of its {count} best passages'"
    lines = [
        f"`calibration.json`, learned on {calibration['dev_questions']} dev questions, says how likely a question's "
        f"first document, of all that there are, is right, by its score ({score} inner product with the question): "
        f"{how}."
    ]
    checked = "expected_calibration_error" in calibrated
    if checked:
        lines[0] += (
            f" On {calibrated['questions']} {facts.split} questions its expected calibration error is "
            f"{calibrated['expected_calibration_error']:.3f}."
        )
    wanted = f"{100 * calibration['precision_wanted']:g} %"
    if calibration["threshold"] is None:
        return [*lines, f"No score gave a precision of {wanted} on dev."]
    last = (
        f"First documents that score {calibration['threshold']:.4f} or more were right in "
        f"{100 * calibration['precision_on_dev']:.0f} % of cases on dev (at least {wanted} was asked for)"
    )
    if checked:
        right = calibrated["precision"]
        held = "none was answered" if right is None else f"{100 * right:.0f} % of those answered were right"
        last += f"; on {facts.split}, {100 * calibrated['answered']:.0f} % of questions had one, and {held}"
    return [*lines, f"{last}."]
