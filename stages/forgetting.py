"""forgetting: measure base and tuned model on the general data set, if there is one."""

from pathlib import Path

from embedtune import cli, files
from embedtune.config import Params, load_params


def main() -> None:
    """Write metrics/forgetting.json: both models' measures and the difference, {} where there is no probe."""
    params = load_params()
    if not (Path("data/probe") / "corpus.jsonl").exists():
        files.write_json(Path("metrics/forgetting.json"), {})
        cli.say("forgetting: no probe to measure on (probe.source)")
        return
    measure(params)


def measure(params: Params) -> None:
    """Of both models, on the probe."""
    from embedtune.device import encoding_dtype, pick_device  # torch takes seconds to load
    from embedtune.encode import load_encoder, pad_token_id
    from embedtune.memory import keep_freed_memory
    from embedtune.model import read_settings
    from embedtune.probe import open_probe
    from embedtune.significance import Resampling, paired
    from embedtune.tokenization import load_tokenizer

    base, tuned = (Path("models") / name for name in ("base", params.hybrid.model))
    settings = read_settings(base)
    probe = open_probe(Path("data/probe"), load_tokenizer(base), settings, params.encode.query_max_len)
    assert probe is not None, "its corpus is there"
    device = pick_device()
    keep_freed_memory(device)
    scores = {}
    for name, directory in (("base", base), ("tuned", tuned)):
        model = load_encoder(directory, encoding_dtype(params.encode.precision, device), device)
        scores[name] = probe.score(
            model,
            settings,
            pad_id=pad_token_id(directory),
            batch_tokens=params.encode.batch_tokens,
            cutoffs=sorted(set(params.evaluate.cutoffs)),
            section="encode",
        )
    means = {name: {str(m): float(v) for m, v in table.mean().items()} for name, table in scores.items()}
    resampling = Resampling(params.compare.confidence, params.compare.resamples, params.compare.seed)
    change = paired(scores, resampling)["tuned_over_base"]
    files.write_json(Path("metrics/forgetting.json"), means | {"change": change})
    cli.say(
        f"forgetting: wrote metrics/forgetting.json ({len(probe.queries)} questions, {params.hybrid.model} and base)"
    )


if __name__ == "__main__":
    cli.run(main)
