"""report: the results of the run, as an HTML page and as a Markdown summary for a pull request.

The page states training time, hardware and revision, which differ from run to run. As a DVC output it would change
dvc.lock each time, so it is not one: `make repro` and `make report` write it again from the existing results.
"""

from typing import Any

from embedtune.comparison.comparison import table
from embedtune.comparison.gate import failures
from embedtune.comparison.report import provenance
from embedtune.comparison.report.charts import series_styles
from embedtune.comparison.report.content import (
    FEW,
    charts_of,
    contents_of,
    read_plots,
    summary_content,
    systems_chart,
    trained_documents,
)
from embedtune.comparison.report.findings import Collection, changed_questions, open_system, score_histograms
from embedtune.comparison.report.render import page, summary
from embedtune.comparison.summary import run_summary
from embedtune.comparison.words import with_signs
from embedtune.compute.costs import cost_of
from embedtune.config import paths
from embedtune.config.places import located_rules
from embedtune.config.schema import Params
from embedtune.config.systems import BASE, BM25, NONE, embedding_models
from embedtune.core import cli, files, json_files
from embedtune.data.corpus import read_queries
from embedtune.data.passages import open_passages
from embedtune.evaluation.per_query import read_scores, shown_measure
from embedtune.evaluation.results import PER_QUERY, RUN
from stages.running import run, stage_params


def main() -> None:
    """Write metrics/report.html, metrics/report.md and metrics/summary.json, and print what was found."""
    params = stage_params()
    verdict, counts = json_files.read_json(paths.VERDICT), json_files.read_json(paths.DATA_COUNTS)
    comparison, split = json_files.read_json(paths.COMPARISON), params.evaluate.split
    stopped = located_rules(failures(verdict))
    content: dict[str, Any] = summary_content(comparison, params.compare.confidence, verdict, stopped)
    content |= {"split": split, "questions": f"{counts[f'{split}_queries']:,}"}
    content |= {"documents_trained": trained_documents(counts, split)}
    run_facts = what_was_run(params)
    content |= {
        "data_used": f"{run_facts['data']}, {counts['documents']:,} documents",
        "base_model": run_facts["base model"],
    }
    with files.atomic_file(paths.REPORT_SUMMARY) as partial:
        partial.write_text(summary(content), encoding="utf-8")
    system, baseline = (json_files.read_json(paths.metrics(verdict[role])) for role in ("system", "baseline"))
    json_files.write_json(paths.SUMMARY, run_summary(comparison, verdict, system, baseline, content["measures"]))
    forgetting = json_files.read_json(paths.FORGETTING)
    change = with_signs(forgetting.get("change", {}), params.compare.confidence)
    content |= details(params, shown_measure(content["measures"])) | {
        "few": FEW,
        "run": run_facts,
        "data": counts,
        "scores": json_files.read_json(paths.CALIBRATION_METRICS),
        "forgetting": forgetting | {"change": change},
        "kinds": {name: kind_of(name, params) for name in params.systems},
        "params": paths.PARAMS.read_text(encoding="utf-8"),
    }
    content |= {"contents": contents_of(content), "systems_chart": systems_chart(content, content["styles"])}
    with files.atomic_file(paths.REPORT_PAGE) as partial:
        partial.write_text(page(content), encoding="utf-8")
    print(table(comparison, verdict["baseline"], verdict["system"], f"{split} ({paths.COMPARISON})"), flush=True)
    print(verdict["choice"])
    for sentence in (f"On {content['questions']} {split} questions, {content['headline']}", *content["rivals"]):
        print(sentence)
    if content["caveat"]:
        print(content["caveat"])
    if verdict["rules"]:
        print("\n  ".join([f"gate: {'open' if verdict['passed'] else 'shut'} ({paths.VERDICT})", *stopped]))
    cli.say(f"report: wrote {paths.REPORT_PAGE} and {paths.REPORT_SUMMARY}")


def details(params: Params, measure: str) -> dict[str, Any]:
    """The charts, and the questions that gained and lost most in `measure`, for the page."""
    release, split = params.release, params.evaluate.split
    known = embedding_models(params.rounds, params.mixtures)
    models = [name for name in params.systems if name in known]
    beside = [name for name in params.systems if name not in models]
    passages = open_passages(paths.PASSAGES)
    numbers = {document_id: number for number, document_id in enumerate(passages.document_ids)}
    collection = Collection(read_queries(paths.QUERIES, paths.QRELS, split), passages, paths.CORPUS, numbers)
    runs = {name: paths.run(name) / RUN for name in params.systems}
    reading = models or [BASE]  # what shows the passages of a document that answer
    systems = [open_system(name, paths.embeddings(name), paths.run(name) / RUN, split) for name in reading]
    judged = (release.baseline, release.system)
    trained = [*params.rounds, *(name for name, entry in params.rerankers.items() if entry.objective != NONE)]
    rounds, mixtures = ([name for name in params.systems if name in of] for of in (trained, params.mixtures))
    plots = read_plots(
        paths.PLOTS,
        systems=params.systems,
        rounds=rounds,
        mixtures=mixtures,
        sliced=list(dict.fromkeys([*judged, *(name for name in params.systems if name == BM25)])),
        reliability=paths.RELIABILITY,
        rejection=paths.REJECTION,
    )
    histograms = score_histograms([s for s in systems if s.name in judged], collection, params.compare.seed)
    mixed = {name: json_files.read_json(paths.training_metrics(name)) for name in mixtures}
    before, after = (read_scores(paths.run(name) / PER_QUERY)[measure] for name in judged)
    charts = list(charts_of(plots, histograms, mixed, series_styles(models, beside), measure))
    last = next((name for name in reversed(judged) if name in models), reading[-1])
    return {"charts": charts, "styles": series_styles(models, beside)} | changed_questions(
        systems, runs, before, after, last, collection
    )


def kind_of(name: str, params: Params) -> str:
    """What a system is, in a few words."""
    if name in params.rounds:
        return f"the model that was tuned from {params.rounds[name].start}"
    if name in params.mixtures:
        return f"a mixture of {params.mixtures[name].model}'s weights with the base model's"
    if name in params.fusions:
        fusion = params.fusions[name]
        return f"the results of {fusion.dense} and of the search by words, fused by their {fusion.by}"
    if name in params.rerankers:
        reranker = params.rerankers[name]
        return f"the first {reranker.depth} documents of {reranker.candidates}, put in order by a cross-encoder"
    return "a search by words, without a model" if name == BM25 else "the base model, before it was tuned"


def what_was_run(params: Params) -> dict[str, str]:
    """The provenance of the results: revision, data, models, library versions, training time and hardware."""
    hub_model = "/" in params.model.name
    found = {
        "report written": provenance.now(),
        "git revision": provenance.revision(),
        "base model": f"{params.model.name}, {params.model.revision}" if hub_model else params.model.name,
        "data": params.dataset.source,
    }
    if params.dataset.source == "mldr":
        found["data"] += f", {params.dataset.repository} {params.dataset.language}, {params.dataset.revision}"
    trained = [name for name, reranker in params.rerankers.items() if reranker.objective != NONE]
    for name in (*params.rounds, *params.mixtures, *trained):
        parameters = json_files.read_json(paths.training_metrics(name))["parameters"]
        found[f"model {name}"] = provenance.size_of(paths.model(name), parameters)
    for name in (*params.rounds, *trained):
        took = cost_of(paths.training_metrics(name), paths.training_cost(name))
        found[f"training of {name}"] = provenance.training(took)
        versions = json_files.read_json(paths.training_metrics(name))["versions"]
        found[f"libraries of {name}"] = ", ".join(f"{library} {version}" for library, version in versions.items())
    return found


if __name__ == "__main__":
    run(main)
