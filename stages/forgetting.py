"""forgetting: measure the embedding models of system and baseline on the general data set, if there is one."""

from pathlib import Path

from embedtune.config import paths
from embedtune.config.schema import Params
from embedtune.core import cli, json_files
from embedtune.retrieval.system import SYSTEM, dense_part
from stages.running import run, stage_params


def main() -> None:
    """Write metrics/forgetting.json: both models' measures and their difference; {} if there is nothing to measure."""
    params = stage_params()
    models = {role: model_of(name) for role, name in params.release.model_dump().items()}
    if not (paths.GENERAL_DATA / "corpus.jsonl").exists():
        nothing("no general data to measure on (general_data.source)")
    elif models["system"] is None:
        nothing(f"{params.release.system} (release.system) has no embedding model")
    elif models["baseline"] in (None, models["system"]):
        nothing(f"{params.release.system} has no other embedding model than {params.release.baseline} (release)")
    else:
        measure(params, models["baseline"], models["system"])


def model_of(system: str) -> Path | None:
    """The directory of a system's embedding model, if it has one."""
    dense = dense_part(json_files.read_json(paths.run(system) / SYSTEM))
    return Path(dense["model"]["path"]) if dense else None


def nothing(why: str) -> None:
    """Write that nothing was measured, and say why."""
    json_files.write_json(paths.FORGETTING, {})
    cli.say(f"forgetting: {why}")


def measure(params: Params, baseline: Path, system: Path) -> None:
    """Measure both models on the general data, and write metrics/forgetting.json."""
    from embedtune.comparison.significance import Resampling, paired_differences
    from embedtune.compute.device import encoding_dtype, pick_device  # torch takes seconds to load
    from embedtune.compute.memory import keep_freed_memory
    from embedtune.evaluation.general_data import open_general_data
    from embedtune.models.encoder import load_encoder
    from embedtune.models.settings import read_settings
    from embedtune.models.tokenization import load_tokenizer

    base = paths.BASE
    tokenizer, query_max_len = load_tokenizer(base), params.encode.query_max_len
    general = open_general_data(paths.GENERAL_DATA, tokenizer, read_settings(base), query_max_len)
    assert general is not None, "its corpus is there"
    device = pick_device(params.compute.device)
    keep_freed_memory(device)
    scores, dtype = {}, encoding_dtype(params.encode.precision, device)
    for role, directory in (("baseline", baseline), ("system", system)):
        encoder = load_encoder(directory, device=device, dtype=dtype)
        cutoffs = sorted(set(params.evaluate.cutoffs))
        scores[role] = general.score(encoder, batch_tokens=params.encode.batch_tokens, cutoffs=cutoffs)
    means = {role: {str(m): float(v) for m, v in table.mean().items()} for role, table in scores.items()}
    resampling = Resampling(params.compare.confidence, params.compare.resamples, params.compare.seed)
    change = paired_differences(scores, resampling)["system_over_baseline"]
    json_files.write_json(paths.FORGETTING, means | {"change": change})
    cli.say(f"forgetting: wrote {paths.FORGETTING} ({len(general.queries)} questions, {baseline.name}, {system.name})")


if __name__ == "__main__":
    run(main, "encode")
