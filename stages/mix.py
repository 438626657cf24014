"""mix: a model between a round's and the base model, its share chosen on dev (`python -m stages.mix mixed`)."""

import sys
from pathlib import Path

import numpy as np

from embedtune import cli, files
from embedtune.config import load_params
from embedtune.corpus import read_queries
from embedtune.dev_evaluation import prepare
from embedtune.device import pick_device
from embedtune.errors import EmbedTuneError
from embedtune.memory import keep_freed_memory
from embedtune.mixture import Mixture, sweep
from embedtune.model import read_settings, save_model
from embedtune.passages import open_passages
from embedtune.probe import open_probe
from embedtune.tokenization import load_tokenizer


def main() -> None:
    """Write models/<mixture>, metrics/training/<mixture>.json and the curve of its shares."""
    params = load_params()
    name = sys.argv[1]
    asked = params.mix[name]
    base, tuned = Path("models/base"), Path("models") / asked.model
    settings, tokenizer = read_settings(base), load_tokenizer(base)
    questions = read_queries(Path("data/queries"), Path("data/qrels"), "dev")
    if not questions:
        raise EmbedTuneError(
            f"params.yaml: mix.{name}: a share is chosen on dev, and there are no dev questions; raise "
            "dataset.dev_queries and dataset.split_shares.dev"
        )
    query_max_len, documents = params.encode.query_max_len, np.load("data/dev_pool.npy")
    dev = prepare(questions, open_passages(Path("data/passages")), documents, tokenizer, settings, query_max_len)
    probe = open_probe(Path("data/probe"), tokenizer, settings, query_max_len)
    device = pick_device()
    keep_freed_memory(device)
    mixture = Mixture(base, tuned, device)
    metric = params.train.metric_for_best_model
    found = sweep(
        mixture, base, settings, asked.shares, dev, probe, batch_tokens=params.encode.batch_tokens, metric=metric
    )
    with files.whole_directory(Path("models") / name) as target:
        save_model(mixture.set(found.chosen), tuned, target)
    with files.whole_file(Path("metrics/plots/mixing") / f"{name}.csv") as partial:
        found.table.round(6).to_csv(partial, index=False)
    chosen = found.table[found.table["share"] == found.chosen].iloc[0].to_dict()
    parameters = mixture.model.num_parameters()
    files.write_json(Path("metrics/training") / f"{name}.json", {**chosen, "measure": metric, "parameters": parameters})
    cli.say(f"mix: wrote models/{name}, {found.chosen:.0%} of {asked.model} and the rest of the base model")


if __name__ == "__main__":
    cli.run(main)
