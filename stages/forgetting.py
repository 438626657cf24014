"""forgetting: measure the base and the tuned model on the general-domain data set (probe), if there is one."""

from embedtune.config import paths
from embedtune.config.reading import load_params
from embedtune.config.schema import Params
from embedtune.core import cli, json_files
from stages.running import run


def main() -> None:
    """Write metrics/forgetting.json: both models' measures and their difference; {} if there is no probe."""
    params = load_params()
    if not (paths.PROBE / "corpus.jsonl").exists():
        json_files.write_json(paths.FORGETTING, {})
        cli.say("forgetting: no probe to measure on (probe.source)")
        return
    measure(params)


def measure(params: Params) -> None:
    """Measure both models on the probe, and write metrics/forgetting.json."""
    from embedtune.comparison.significance import Resampling, paired_differences
    from embedtune.compute.device import encoding_dtype, pick_device  # torch takes seconds to load
    from embedtune.compute.memory import keep_freed_memory
    from embedtune.evaluation.probe import open_probe
    from embedtune.models.encoder import load_encoder
    from embedtune.models.settings import read_settings
    from embedtune.models.tokenization import load_tokenizer

    base, tuned = (paths.model(name) for name in ("base", params.hybrid.model))
    settings = read_settings(base)
    probe = open_probe(paths.PROBE, load_tokenizer(base), settings, params.encode.query_max_len)
    assert probe is not None, "its corpus is there"
    device = pick_device()
    keep_freed_memory(device)
    scores = {}
    for name, directory in (("base", base), ("tuned", tuned)):
        encoder = load_encoder(directory, device=device, dtype=encoding_dtype(params.encode.precision, device))
        cutoffs = sorted(set(params.evaluate.cutoffs))
        scores[name] = probe.score(encoder, batch_tokens=params.encode.batch_tokens, cutoffs=cutoffs)
    means = {name: {str(m): float(v) for m, v in table.mean().items()} for name, table in scores.items()}
    resampling = Resampling(params.compare.confidence, params.compare.resamples, params.compare.seed)
    change = paired_differences(scores, resampling)["tuned_over_base"]
    json_files.write_json(paths.FORGETTING, means | {"change": change})
    cli.say(
        f"forgetting: wrote metrics/forgetting.json ({len(probe.queries)} questions, {params.hybrid.model} and base)"
    )


if __name__ == "__main__":
    run(main, "encode")
