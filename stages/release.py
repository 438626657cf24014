"""release: the system that dev chose, with its card, the gate's verdict and its calibration, ready to load or push."""

from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from embedtune.comparison.card import Facts, Results, card
from embedtune.comparison.choice import sentence
from embedtune.comparison.release import RERANKER as RERANKER_FOLDER
from embedtune.comparison.release import file_hashes, name_base_of_adapter, training_history, write_release
from embedtune.comparison.words import findings
from embedtune.compute.device import pick_device
from embedtune.config import paths
from embedtune.config.schema import Params
from embedtune.config.systems import BASE
from embedtune.core import cli, files, json_files
from embedtune.core.errors import EmbedTuneError
from embedtune.models.settings import read_settings
from embedtune.models.trial import try_cross_encoder, try_in_sentence_transformers
from embedtune.retrieval.system import RERANKER, SYSTEM, check_parts, dense_part
from stages.running import run, stage_params


def main() -> None:
    """Write models/release: the model (hard-linked if possible), system.json, README.md, calibration and verdict.

    metrics/release.json has a hash of each of these files, by which `embedtune publish` knows them. Raises
    EmbedTuneError if the model is not the one that was measured.
    """
    params = stage_params()
    choice, comparison = json_files.read_json(paths.CHOICE), json_files.read_json(paths.COMPARISON)
    system, baseline, chosen = params.release.system, params.release.baseline, choice["chosen"]
    gains = comparison["pairs"][f"{system}_over_{baseline}"]
    found = Results(
        data=json_files.read_json(paths.DATA_COUNTS),
        baseline={measure: comparison[measure][baseline] for measure in gains},
        system={measure: comparison[measure][system] for measure in gains},
        intervals=comparison["intervals"][system],
        gains=gains,
        findings=findings(comparison, system, baseline, chosen, params.evaluate.split, params.compare.confidence),
        calibration=json_files.read_json(paths.CALIBRATION),
        calibrated=json_files.read_json(paths.CALIBRATION_METRICS),
    )
    description = json_files.read_json(paths.run(chosen) / SYSTEM)
    check_parts(description, Path(), only=("model", RERANKER))
    dense, reranker = dense_part(description), description.get(RERANKER)
    model = Path(dense["model"]["path"]) if dense else None
    text = card(facts(params, choice, model), description, read_settings(model) if model else None, found)
    beside = [paths.CALIBRATION, paths.VERDICT, paths.run(chosen) / SYSTEM]
    with files.atomic_directory(paths.RELEASE) as target:
        write_release(model, target, text, beside, Path(reranker["path"]) if reranker else None)
        if model:
            name_base_of_adapter(target, *base_of_adapter(params, model.name))
            try_release(target, params.compute.device)
        if reranker:
            name_base_of_adapter(target / RERANKER_FOLDER, None, None)
            try_reranker(target / RERANKER_FOLDER, params.compute.device)
    json_files.write_json(paths.RELEASED, {"system": chosen, "files": file_hashes(paths.RELEASE)})
    cli.say(f"release: wrote {paths.RELEASE} ({chosen}); `embedtune publish NAME/REPOSITORY` pushes it to a hub")


def try_release(target: Path, wanted: str) -> None:
    """Load the directory as its users will, on the device `wanted`.

    Raises EmbedTuneError where sentence-transformers gives other vectors.
    """
    try:
        try_in_sentence_transformers(target, pick_device(wanted))
    except EmbedTuneError as error:
        raise EmbedTuneError(f"{paths.RELEASE} is not written: {error}") from error


def try_reranker(target: Path, wanted: str) -> None:
    """Load the cross-encoder as its users will; raise EmbedTuneError where sentence-transformers scores otherwise."""
    try:
        try_cross_encoder(target, pick_device(wanted))
    except EmbedTuneError as error:
        raise EmbedTuneError(f"{paths.RELEASE} is not written: {error}") from error


def base_of_adapter(params: Params, model: str) -> tuple[str | None, str | None]:
    """The hub id and commit of the model that a round's adapter belongs to; None for one that is on no hub."""
    of_base = model in params.rounds and params.rounds[model].start == BASE
    commit = json_files.read_json(paths.source(BASE)).get("commit")
    return (params.model.name, commit) if of_base and commit else (None, None)


def facts(params: Params, choice: dict[str, Any], model: Path | None) -> Facts:
    """The facts on the card, from the parameters and the metrics of a mixture; `model` is the released one."""
    data_on_hub = params.dataset.source == "mldr"
    sections = {
        "model": params.model,
        "segment": params.segment,
        "rounds": params.rounds,
        "mine": params.mine,
        "train": used_values(params, model.name if model else BASE),
        "mixtures": params.mixtures,
        "fusions": params.fusions,
        "rerankers": params.rerankers,
        "rerank": params.rerank,
    }
    return Facts(
        path=str(paths.RELEASE),
        system=params.release.system,
        baseline=params.release.baseline,
        chosen=choice["chosen"],
        choice=sentence(choice),
        base_model=params.model.name,
        base_revision=json_files.read_json(paths.source("base")).get("commit"),
        data=params.dataset.repository if data_on_hub else f"{params.dataset.source} data",
        repository=params.dataset.repository if data_on_hub else None,
        language=params.dataset.language if data_on_hub else None,
        revision=json_files.read_json(paths.source("data")).get("commit"),
        split=params.evaluate.split,
        confidence=params.compare.confidence,
        origin=origin(params, model.name) if model else "",
        params=TypeAdapter(dict[str, Any]).dump_python(sections, mode="json", by_alias=True),
    )


def origin(params: Params, model: str) -> str:
    """How an embedding model was trained, in sentences."""
    mixture = params.mixtures.get(model)
    mixed = (mixture.model, json_files.read_json(paths.training_metrics(model))["weight"]) if mixture else None
    starts = {name: stage.start for name, stage in params.rounds.items()}
    epochs = used_values(params, model)["num_train_epochs"]
    return training_history(model, starts, mixed, params.train.method, epochs)


def used_values(params: Params, model: str) -> dict[str, Any]:
    """The values of the section `train` with those that the recipe chose for a model's last round (see recipe.py)."""
    values = params.train.model_dump()
    if model == BASE:
        return values
    mixture = params.mixtures.get(model)
    settings = json_files.read_json(paths.training_metrics(mixture.model if mixture else model))["settings"]
    return values | {setting["key"]: setting["value"] for setting in settings}


if __name__ == "__main__":
    run(main)
