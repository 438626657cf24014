"""report: what the run found, as one page to look at and a summary for a pull request.

The page tells minutes, hardware and revision, which differ from run to run: as an output of DVC it would change
dvc.lock each time. `make repro` and `make report` write it again from what is there.
"""

import platform
import subprocess
from importlib.metadata import version
from pathlib import Path
from typing import Any

import faiss
import pandas as pd

from embedtune import cli, embeddings, files
from embedtune.config import BESIDE, Params, load_params
from embedtune.corpus import read_queries
from embedtune.costs import COSTS, cost_of
from embedtune.gate import VERDICT, failures
from embedtune.passages import open_passages
from embedtune.per_query import first_documents, most_changed, read_scores, shown_measure
from embedtune.report.charts import looks
from embedtune.report.content import FEW, Plots, drawn, headline, systems_table, with_signs
from embedtune.report.findings import Collection, System, example, score_histograms
from embedtune.report.render import page, summary

METRICS, RUNS = Path("metrics"), Path("data/runs")
EXAMPLES = 5
PACKAGES = ("torch", "FlagEmbedding", "transformers", "dvc")


def main() -> None:
    """Write metrics/report.html and metrics/report.md."""
    params = load_params()
    tuned = params.hybrid.model
    comparison = files.read_json(METRICS / "comparison.json")
    gains = with_signs(comparison["pairs"][f"{tuned}_over_base"], params.compare.confidence)
    measures = [row["measure"] for row in gains]
    verdict = files.read_json(VERDICT)
    content: dict[str, Any] = {
        "title": "embedtune report",
        "headline": headline(comparison, tuned, gains),
        "gate": verdict | {"failures": failures(verdict)},
        "questions": f"{files.read_json(METRICS / 'data.json')[f'{params.evaluate.split}_queries']:,}",
        "split": params.evaluate.split,
        "confidence": f"{100 * params.compare.confidence:g} %",
        "measures": measures,
        "systems": systems_table(comparison),
        "tuned": tuned,
        "gains": gains,
    }
    with files.whole_file(METRICS / "report.md") as partial:
        partial.write_text(summary(content), encoding="utf-8")
    forgetting = files.read_json(METRICS / "forgetting.json")
    content |= details(params, shown_measure(measures)) | {
        "few": FEW,
        "run": what_was_run(params),
        "data": files.read_json(METRICS / "data.json"),
        "scores": files.read_json(METRICS / "calibration.json"),
        "forgetting": forgetting | {"change": with_signs(forgetting.get("change", {}), params.compare.confidence)},
        "params": Path("params.yaml").read_text(encoding="utf-8"),
    }
    with files.whole_file(METRICS / "report.html") as partial:
        partial.write_text(page(content), encoding="utf-8")
    cli.say(f"report: wrote {METRICS / 'report.html'} and {METRICS / 'report.md'}")


def details(params: Params, measure: str) -> dict[str, Any]:
    """Charts, and the questions that gained and lost most."""
    tuned, split = params.hybrid.model, params.evaluate.split
    models = ["base", *params.rounds, *params.mix]
    passages = open_passages(Path("data/passages"))
    queries = read_queries(Path("data/queries"), Path("data/qrels"), split)
    numbers = {document_id: number for number, document_id in enumerate(passages.document_ids)}
    collection = Collection(queries, passages, Path("data/corpus.jsonl"), numbers)
    systems = [
        System(
            name,
            embeddings.open_vectors(Path("data/embeddings") / name, embeddings.query_file(split)),
            embeddings.open_vectors(Path("data/embeddings") / name, embeddings.PASSAGES),
            RUNS / f"{name}.trec",
        )
        for name in models
    ]
    shown = [system for system in systems if system.name in ("base", tuned)]
    histograms = score_histograms(shown, collection, params.compare.seed)
    mixtures = {name: files.read_json(METRICS / "training" / f"{name}.json") for name in params.mix}
    plots = read_plots(params, models)
    before, after = (read_scores(RUNS / f"{name}.per_query.csv")[measure] for name in ("base", tuned))
    changed = most_changed(before, after, EXAMPLES)
    asked = {query for ids in changed for query in ids}
    runs = {name: first_documents(RUNS / f"{name}.trec", only=asked) for name in (*models, *BESIDE)}
    readers = {system.name: system for system in sorted(systems, key=lambda system: system.name == tuned)}
    number_of = {query.id: number for number, query in enumerate(queries)}
    gained, lost = ([example(number_of[query], runs, readers, collection) for query in ids] for ids in changed)
    charts = list(drawn(plots, histograms, mixtures, looks(models, BESIDE), measure))
    return {"charts": charts, "gained": gained, "lost": lost}


def read_plots(params: Params, models: list[str]) -> Plots:
    """What the stages before left in metrics/plots/."""
    shown = ("base", params.hybrid.model, BESIDE[0])

    def tables(folder: str, names: Any) -> dict[str, pd.DataFrame]:
        return {name: pd.read_csv(METRICS / "plots" / folder / f"{name}.csv") for name in names}

    return Plots(
        by_cutoff=tables("", (*models, *BESIDE)),
        training=tables("training", params.rounds),
        mixing=tables("mixing", params.mix),
        mining=tables("mining", params.rounds),
        slices=tables("slices", shown),
        **tables("", ("reliability", "rejection")),
    )


def what_was_run(params: Params) -> dict[str, str]:
    """Revision, models, hardware, versions and what training took: what one asks of a figure's origin."""
    found = {
        "git revision": revision(),
        "base model": f"{params.model.name}, {params.model.revision}",
        "data": f"{params.dataset.source}, {params.dataset.repository} {params.dataset.language}, "
        f"{params.dataset.revision}"
        if params.dataset.source == "mldr"
        else params.dataset.source,
    }
    for name in (*params.rounds, *params.mix):
        weights = sum(path.stat().st_size for path in (Path("models") / name).glob("*.safetensors"))
        told = files.read_json(METRICS / "training" / f"{name}.json")
        found[f"model {name}"] = f"{told['parameters']:,} parameters, {weights / 1e6:,.1f} MB"
    for name in params.rounds:
        took = cost_of(METRICS / "training" / f"{name}.json", COSTS / f"{name}.json")
        found[f"training of {name}"] = training(took) if took else "not known: not this machine's last"
    found |= {"Python": platform.python_version(), "faiss": faiss.__version__}
    return found | {name: version(name) for name in PACKAGES}


def training(took: dict[str, Any]) -> str:
    """Minutes, memory and hardware of a training, by its logs/training/<round>.json."""
    peak = took["peak_gpu_bytes"] or took["peak_ram_bytes"]
    return (
        f"{took['seconds'] / 60:.1f} minutes, {peak / 1e9:.2f} GB at most, {took['processes']} x {took['hardware']}, "
        f"{took['precision']}"
    )


def revision() -> str:
    """The commit that is checked out, and whether files differ from it."""
    done = subprocess.run(["git", "describe", "--always", "--dirty", "--abbrev=12"], capture_output=True, text=True)
    return done.stdout.strip() or "not in git"


if __name__ == "__main__":
    cli.run(main)
