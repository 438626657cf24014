"""The model card: a README.md in Hugging Face's format, with training data, parameters, usage and measured results."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import yaml

if TYPE_CHECKING:  # only annotations need these; `_metadata` imports huggingface_hub where it uses it
    from huggingface_hub import ModelCardData

    from embedtune.models.settings import Settings
    from embedtune.retrieval.system import Description

LIBRARY = "sentence-transformers"
CROSS_ENCODER = "from sentence_transformers import CrossEncoder"


@dataclass(frozen=True)
class Facts:
    """What the card says about the run.

    `path`: the release's directory, as the usage examples load it. `system` and `baseline`: the names of the two
    systems that were judged. `chosen`: the one of them that is released. `choice`: the sentence on why. `base_model`
    and `base_revision`: the model that was fine-tuned and its commit on the hub (None for a model from elsewhere).
    `data`: the data set's name. `repository`, `language` and `revision` (a commit): those of a data set on the hub,
    None for other data. `split`: the evaluated split. `confidence`: the level of the intervals, 0 to 1. `origin`:
    sentences on how the model was trained, "" without a model. `params`: sections of params.yaml.
    """

    path: str
    system: str
    baseline: str
    chosen: str
    choice: str
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
class Results:
    """What was measured.

    `data`: counts of the data set. By measure: the means of `baseline` and `system`, the `intervals` of the system's
    means, and its `gains` over the baseline (see significance.py). `findings`: sentences on how systems compare (see
    words.py). `calibration` and its evaluation `calibrated`: see calibration.py.
    """

    data: Mapping[str, Any]
    baseline: Mapping[str, float]
    system: Mapping[str, float]
    intervals: Mapping[str, Mapping[str, float]]
    gains: Mapping[str, Mapping[str, float]]
    findings: Sequence[str]
    calibration: Mapping[str, Any]
    calibrated: Mapping[str, Any]


def card(facts: Facts, description: Description, settings: Settings | None, found: Results) -> str:
    """The text of the card: YAML metadata, then Markdown.

    `description` is the released system's (see system.py), and `settings` are those of its model; None without one.
    """
    name = f"embedtune-{facts.base_model.split('/')[-1]}"
    percent = f"{100 * facts.confidence:g} %"
    rows = [
        f"| {measure} | {found.baseline[measure]:.4f} "
        f"| {found.system[measure]:.4f} ({own['low']:.3f} to {own['high']:.3f}) "
        f"| {gain['difference']:+.4f} ({gain['low']:+.4f} to {gain['high']:+.4f}) |"
        for measure, own, gain in ((m, found.intervals[m], found.gains[m]) for m in found.gains)
    ]
    revision = f" (commit `{facts.revision}`)" if facts.revision else ""
    base_revision = f" (commit `{facts.base_revision}`)" if facts.base_revision else ""
    lines = [
        *("---", _metadata(facts, name, found).to_yaml().strip(), "---", ""),
        *(f"# {name}", "", facts.choice, ""),
        f"`{facts.base_model}`{base_revision} fine-tuned for retrieval with embedtune on {facts.data}{revision}: "
        f"{found.data['train_queries']:,} training questions, {found.data['documents']:,} documents. {facts.origin}",
        *("", f"## Measured on {found.data[f'{facts.split}_queries']:,} {facts.split} questions", ""),
        *(part for sentence in found.findings for part in (sentence, "")),
        f"| measure | {facts.baseline} | {facts.system} ({percent} interval) | gain ({percent} interval) |",
        *("| --- | --- | --- | --- |", *rows, ""),
        *("## Use", "", *_system_usage(description, facts), *(_usage(settings, facts.path) if settings else []), ""),
        *("## What a score means", "", *_scores(found.calibration, found.calibrated, facts), ""),
        *("## Parameters", "", "<details><summary>params.yaml</summary>", "", "```yaml"),
        yaml.safe_dump(dict(facts.params), allow_unicode=True, sort_keys=False).rstrip(),
        *("```", "", "</details>", ""),
    ]
    return "\n".join(lines)


def _metadata(facts: Facts, name: str, found: Results) -> ModelCardData:
    from huggingface_hub import EvalResult, ModelCardData

    means = found.system if facts.chosen == facts.system else found.baseline
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


def _system_usage(description: Description, facts: Facts) -> list[str]:
    """How to rank with the whole system, where it is more than its embedding model."""
    if description["kind"] == "dense":
        return []
    if description["kind"] == "reranked":
        return _reranked_usage(description, facts)
    if description["kind"] == "lexical":
        what = "It is a search by words (BM25) and has no embedding model."
    elif description["by"] == "ranks":
        what = "It fuses the ranks of the embedding model below with those of a search by words (BM25)."
    else:
        what = (
            "It adds the scores of the embedding model below and of a search by words (BM25), each scaled to 0 to 1; "
            f"the model's weigh {description['weight']:g}."
        )
    return [f"{what} `system.json` says how; in the project, `embedtune rank QUESTION` ranks with it.", ""]


def _reranked_usage(description: Description, facts: Facts) -> list[str]:
    found = {"dense": "the embedding model below", "lexical": "a search by words (BM25)"}.get(
        description["candidates"]["kind"], "the embedding model below and a search by words, fused"
    )
    read = description["read_passages"]
    passages = "passage that the embedding model likes best" if read == 1 else f"{read} passages that it likes best"
    return [
        f"A cross-encoder, in `reranker`, puts the first {description['depth']} documents of {found} in order; it "
        f"reads a document by the {passages}. `system.json` says how; in the project, `embedtune rank QUESTION` ranks "
        "with it.",
        "",
        "```python",
        CROSS_ENCODER,
        "",
        f'reranker = CrossEncoder("{facts.path}/reranker", max_length={description["max_len"]})',
        'scores = reranker.predict([("a question", "a passage")])  # the higher, the more relevant',
        "```",
        "",
    ]


def _usage(settings: Settings, path: str) -> list[str]:
    decoder = settings.pooling == "last_token"
    name = "FlagLLMModel" if decoder else "FlagModel"
    given: dict[str, Any] = {} if decoder else {"pooling_method": settings.pooling}
    given |= {"normalize_embeddings": settings.normalize}
    given |= {"query_instruction_for_retrieval": settings.query_instruction or None}
    given |= {"query_instruction_format": "{}{}"} if decoder else {}
    if settings.passage_instruction:
        given |= {"passage_instruction_for_retrieval": settings.passage_instruction}
    arguments = [f'    "{path}",', *(f"    {key}={value!r}," for key, value in given.items())]
    return [
        "```python",
        "from sentence_transformers import SentenceTransformer",
        "",
        f'model = SentenceTransformer("{path}")  # pooling, normalisation and instructions come with it',
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
    count = calibration.get("best_passages")
    dense = "its best passage's" if count == 1 else f"the mean of its {count} best passages'"
    score = f"its score ({dense} inner product with the question)" if count else "its score by the whole system"
    lines = [
        f"`calibration.json`, learned on {calibration['dev_questions']} dev questions, says how likely a question's "
        f"first document, of all that there are, is right, by {score}: {how}."
    ]
    checked = "expected_calibration_error" in calibrated
    if checked:
        lines[0] += (
            f" On {calibrated['questions']} {facts.split} questions its expected calibration error is "
            f"{calibrated['expected_calibration_error']:.3f}."
        )
    if "flat" in calibration:
        lines[0] += f" It is the same for every score, since {calibration['flat']}."
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
