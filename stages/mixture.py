"""mixture: interpolate a round's weights with the base model's, by dev (`python -m stages.mixture mixed`)."""

from embedtune.compute.device import pick_device
from embedtune.compute.memory import keep_freed_memory
from embedtune.config import paths
from embedtune.config.systems import BASE
from embedtune.core import cli, files, json_files
from embedtune.core.errors import EmbedTuneError
from embedtune.data.passages import open_passages
from embedtune.evaluation.dev_evaluation import read_dev_set
from embedtune.evaluation.general_data import open_general_data
from embedtune.models.interpolation import Mixture
from embedtune.models.saving import save_model
from embedtune.models.settings import read_settings
from embedtune.models.tokenization import load_tokenizer
from embedtune.models.vector_store import open_store
from embedtune.training.mixture import sweep
from stages.running import name_given, run, stage_params


def main() -> None:
    """Write models/<mixture>, metrics/training/<mixture>.json and the table of the weights tried."""
    params = stage_params()
    name = name_given(params.mixtures)
    asked = params.mixtures[name]
    base, tuned = paths.BASE, paths.model(asked.model)
    settings, tokenizer = read_settings(base), load_tokenizer(base)
    query_max_len = params.encode.query_max_len
    dev_files = (paths.QUERIES, paths.QRELS, paths.DEV_POOL)
    store, top = open_store(paths.embeddings(BASE)), params.dev_pool.top_documents
    passages = open_passages(paths.PASSAGES)
    dev_set = read_dev_set(*dev_files, store, top, passages, tokenizer, settings, query_max_len)
    if dev_set is None:
        raise EmbedTuneError(
            f"{paths.PARAMS}: mixtures.{name}: a weight is chosen on dev, and there are no dev questions; raise "
            "`dev_queries` and `split_shares`.dev"
        )
    general = open_general_data(paths.GENERAL_DATA, tokenizer, settings, query_max_len)
    device = pick_device(params.compute.device)
    keep_freed_memory(device)
    mixture = Mixture(base, tuned, device)
    metric = params.train.metric_for_best_model
    found = sweep(
        mixture, asked.weights, dev_set.of_top(top), general, batch_tokens=params.encode.batch_tokens, metric=metric
    )
    with files.atomic_directory(paths.model(name)) as target:
        save_model(mixture.set(found.chosen).model, tuned, target)
    with files.atomic_file(paths.mixing_plot(name)) as partial:
        found.table.round(6).to_csv(partial, index=False)
    chosen = found.table[found.table["weight"] == found.chosen].iloc[0].to_dict()
    parameters = mixture.encoder.model.num_parameters()
    json_files.write_json(paths.training_metrics(name), {**chosen, "measure": metric, "parameters": parameters})
    cli.say(f"mixture: wrote {paths.model(name)}, {found.chosen:.0%} of {asked.model} and the rest of the base model")


if __name__ == "__main__":
    run(main, "encode", "train", "dataset", "compute")
