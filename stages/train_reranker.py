"""train_reranker: train a cross-encoder to order a system's results (`python -m stages.train_reranker reranked`)."""

import shutil

from embedtune.compute import distributed
from embedtune.compute.device import pick_device
from embedtune.compute.memory import keep_freed_memory
from embedtune.config import paths
from embedtune.config.recipe import FilledRerank, rerank_settings
from embedtune.config.schema import Params
from embedtune.config.systems import NONE, Reranker
from embedtune.core import cli, files, json_files
from embedtune.data.corpus import read_queries
from embedtune.data.passages import open_passages
from embedtune.evaluation.dev_reranking import RerankingSet
from embedtune.mining.mined_rows import read_mined, read_texts_of_rows
from embedtune.models.cross_encoder import CrossEncoder, load_cross_encoder
from embedtune.retrieval.rankings import read_rankings
from embedtune.retrieval.rerank import in_order_of, judged_documents
from embedtune.retrieval.system import SYSTEM
from embedtune.training.fine_tune import CUTOFF
from embedtune.training.objectives.ranking import COMPARED, PROBABILITY, Ranking
from embedtune.training.pair_data import JudgedQuery, PairSet, judged_queries
from stages.candidates import passage_reader
from stages.running import name_given, run, stage_params
from stages.training import Job, across_processes, describe, train

DEV = "dev"


def main() -> None:
    """Write models/<reranker>, metrics/training/<reranker>.json and the loss curve."""
    params = stage_params()
    name = name_given(params.rerankers)
    if params.rerankers[name].objective == NONE:
        take_over(name)
        return
    across_processes(
        "train_reranker",
        name,
        params.train.nproc_per_node,
        lambda: train_reranker(params, name, params.rerankers[name]),
    )


def take_over(name: str) -> None:
    """Write the ready model as it is."""
    with files.atomic_directory(paths.model(name)) as target:
        shutil.copytree(paths.reranker_base(name), target, dirs_exist_ok=True)
    json_files.write_json(paths.training_metrics(name), {"warnings": [], "settings": []})
    with files.atomic_file(paths.training_plot(name)) as partial:
        partial.write_text("step,epoch,loss,accuracy,learning_rate\n", encoding="utf-8")
    cli.say(f"train_reranker: {name} has `objective: none` and stays as it is; wrote {paths.model(name)}")


def train_reranker(params: Params, name: str, entry: Reranker) -> None:
    """Train the cross-encoder together with the other processes, if any."""
    device = pick_device(params.compute.device)
    keep_freed_memory(device)
    base, rows = paths.reranker_base(name), paths.mined(name)
    model = load_cross_encoder(base, device)
    queries = judged_queries(read_mined(rows))
    useful = sum(len(set(query.rels)) > 1 for query in queries) if entry.objective in COMPARED else len(queries)
    settings = rerank_settings(params, entry, useful, model.max_tokens)
    values = FilledRerank(**{key: setting.value for key, setting in settings.items()})
    derived = f"{values} {device.type} {distributed.world_size()}"
    inputs = [rows, base, paths.QUERIES / "dev.jsonl", paths.QRELS / "dev.tsv", paths.run(entry.candidates) / SYSTEM]
    keys = ("train", "rerank", f"rerankers.{name}")
    description = describe(params, "train_reranker", name, keys, derived, inputs)
    training_set = pair_set(queries, values, entry, model, params.train.seed, name)
    dev = dev_set(params, values, entry, model) if params.train.eval_strategy != "no" else None
    if entry.objective == PROBABILITY and distributed.is_main():
        cli.say("train_reranker: the sigmoid of a score is a probability, as `objective: bce` learns it")
    job = Job(
        name=name,
        section="rerank",
        base=base,
        options=params.train.model_copy(update={"method": params.rerank.method}),
        settings=settings,
        objective=Ranking(entry.objective),
        training_set=training_set,
        rows="questions",
        sequences=values.train_group_size,
        dev=dev,
        rival=(
            f"dev_{params.train.metric_for_best_model}_of_candidates",
            f"the order of {entry.candidates}",
            lambda asked: asked.means_as_found([CUTOFF]),
        ),
        doubts=[],
    )
    train(job, description, device)


def pair_set(
    queries: list[JudgedQuery], values: FilledRerank, entry: Reranker, model: CrossEncoder, seed: int, name: str
) -> PairSet:
    """The training questions with the passages to order."""
    found = PairSet(
        queries,
        read_texts_of_rows(paths.mined(name)),
        model,
        group_size=values.train_group_size,
        max_len=values.max_len,
        seed=seed,
        compared=entry.objective in COMPARED,
    )
    if found.left_out:
        cli.say_once(
            f"train_reranker: {found.left_out} of {len(queries)} questions have no two documents of different "
            "relevance and are left out"
        )
    return found


def dev_set(params: Params, values: FilledRerank, entry: Reranker, model: CrossEncoder) -> RerankingSet | None:
    """The dev questions with the documents to order: the first candidates or, on judged rows, those that are judged."""
    queries, passages = read_queries(paths.QUERIES, paths.QRELS, DEV), open_passages(paths.PASSAGES)
    if not queries:
        return None
    documents = read_rankings(paths.run(entry.candidates), DEV).documents
    if entry.rows == "judged":
        documents = in_order_of(documents, judged_documents(queries, passages.document_ids))
    else:
        documents = documents[:, : entry.depth]
    pairs = passage_reader(entry, passages, {DEV: queries}).pairs(model, queries, documents)
    return RerankingSet(queries, pairs, passages.document_ids, model, values.max_len)


if __name__ == "__main__":
    run(main, "rerank", "rerankers", "train", "mine", "compute")
