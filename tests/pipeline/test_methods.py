"""Other models and ways of training through the whole `dvc repro`, and one training on two machines."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import AutoModel, PreTrainedTokenizerFast, Qwen2Config, Qwen2Model

from embedtune.models.new_head import write_with_new_head
from embedtune.models.trial import try_cross_encoder
from tests.pipeline.conftest import TO_EVALUATE, TO_TRAIN, Project


def write_decoder(target: Path, texts: list[str]) -> None:
    """A tiny Qwen2 whose tokenizer pads on the left and closes texts with the padding token, as Qwen3-Embedding's."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=3000,
        special_tokens=["<|endoftext|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="$A <|endoftext|>", pair="$A $B <|endoftext|>", special_tokens=[("<|endoftext|>", 0)]
    )
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token="<|endoftext|>",
        pad_token="<|endoftext|>",
        padding_side="left",
        model_max_length=512,
    ).save_pretrained(target)
    torch.manual_seed(0)
    config = Qwen2Config(
        vocab_size=tokenizer.get_vocab_size(),
        hidden_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        intermediate_size=128,
        max_position_embeddings=512,
    )
    Qwen2Model(config).save_pretrained(target)


def take_decoder(project: Project) -> None:
    rows = (project.root / "data" / "corpus.jsonl").read_text(encoding="utf-8").splitlines()
    write_decoder(project.root / "models" / "local", [json.loads(row)["text"] for row in rows])
    instruction = "Instruct: 找出段落\nQuery:"
    project.edit(model={"name": "local", "pooling": "last_token", "query_instruction": instruction})


def test_a_decoder_with_lora_and_last_token_pooling(project: Project) -> None:
    take_decoder(project)
    project.edit(
        train={"recipe": "from_scratch", "method": "lora", "num_train_epochs": 4},
        rounds={"round2": {"from": "finetuned", "teacher": "none"}},
    )
    assert {"train@finetuned", "train@round2"} < project.stale()
    of_base = ("base_model", "segment", "encode base", "dev_pool")
    project.stages(*of_base, "mine finetuned", "train finetuned", "encode finetuned", "mine round2", "train round2")
    for name, start in (("finetuned", "base"), ("round2", "finetuned")):
        assert_merged(project, name, start)
    training = project.metrics("training/finetuned")
    assert training["last_loss"] < training["first_loss"] - 0.2
    assert 0 < training["trained_parameters"] < training["parameters"] / 2
    merged = project.root / "merged"
    project.run(
        *(
            "python",
            "-m",
            "embedtune",
            "merge",
            "models/base",
            "models/finetuned/adapter",
            "merged",
            "--precision",
            "bf16",
        )
    )
    assert AutoModel.from_pretrained(merged).dtype == torch.bfloat16


def assert_merged(project: Project, name: str, start: str) -> None:
    """The model is a plain one, and all the weights that adapters reach differ from those it started from."""
    models = project.root / "models"
    assert (models / name / "adapter" / "adapter_config.json").is_file()
    before = AutoModel.from_pretrained(models / start).state_dict()
    after = AutoModel.from_pretrained(models / name).state_dict()
    assert before.keys() == after.keys(), "merged: a plain model"
    changed = {weight.split(".")[-2] for weight in before if not torch.equal(before[weight], after[weight])}
    assert changed == {"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"}


def test_pairs_train_with_in_batch_negatives_alone(project: Project) -> None:
    corpus = {row["_id"]: row["text"] for row in lines(project.root / "data" / "corpus.jsonl")}
    qrels = (project.root / "data" / "qrels" / "train.tsv").read_text().splitlines()[1:]
    queries = {row["_id"]: row["text"] for row in lines(project.root / "data" / "queries" / "train.jsonl")}
    local = project.root / "data" / "local"
    with (local / "train.jsonl").open("w", encoding="utf-8") as file:
        for line in qrels:
            query, document, relevance = line.split("\t")
            if int(relevance):
                row = {"query": queries[query], "pos_doc": corpus[document]}
                file.write(json.dumps(row, ensure_ascii=False) + "\n")
    project.edit(
        dataset={"source": "local", "format": "pairs"},
        mine={"negatives": 0},
        train={"train_group_size": 1, "eval_strategy": "no"},
    )
    project.stages(*TO_TRAIN)
    assert project.metrics("mining/finetuned")["negatives"] == 0
    assert project.metrics("training/finetuned")["last_loss"] < project.metrics("training/finetuned")["first_loss"]


def test_triplets_with_a_teachers_scores_are_distilled(project: Project) -> None:
    """A teacher that prefers a negative pulls the loss up; flat scores are refused, and none are too."""
    corpus = 2 * [row["text"][:60] for row in lines(project.root / "data" / "corpus.jsonl")]
    local = project.root / "data" / "local" / "train.jsonl"

    def write(scored: bool, preferred: float = 5.0) -> None:
        with local.open("w", encoding="utf-8") as file:
            for i, text in enumerate(corpus):
                scores = {"pos_scores": [0.0], "neg_scores": [preferred, 0.0]} if scored else {}
                row = {"query": f"{text[5:25]}{i}", "pos": [text], "neg": [corpus[i - 1], corpus[i - 2]]}
                file.write(json.dumps(row | scores, ensure_ascii=False) + "\n")

    write(scored=True)
    project.edit(
        dataset={"source": "local", "format": "triplets"},
        mine={"negatives": 2, "source": "dataset"},
        train={"train_group_size": 3, "eval_strategy": "no"},
        rounds={"finetuned": {"from": "base", "teacher": "dataset"}},
    )
    project.stages(*TO_TRAIN)
    distilled = project.metrics("training/finetuned")["first_loss"]
    project.edit(rounds={"finetuned": {"from": "base", "teacher": "none"}})
    project.stages("train finetuned")
    assert distilled > project.metrics("training/finetuned")["first_loss"] + 1.0
    write(scored=False)
    project.edit(rounds={"finetuned": {"from": "base", "teacher": "dataset"}})
    done = project.stages(*TO_TRAIN, check=False)
    assert (
        "error: params.yaml: rounds.finetuned.teacher: dataset needs a teacher's scores of every passage" in done.said
    )
    write(scored=True, preferred=0.1)
    done = project.stages("download", "convert", "segment", "check", check=False)
    assert "error: params.yaml: train.teacher_temperature: with 1 the teacher's targets are nearly flat" in done.said


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_two_processes_encode_as_one_does(project: Project) -> None:
    folder = project.root / "data" / "embeddings" / "base"
    alone = {path.name: np.load(path) for path in folder.glob("*.npy")}
    shutil.rmtree(folder)
    launch = "from embedtune.compute import distributed; distributed.launch('stages.encode', ['base'], 2)"
    done = project.run("python", "-c", launch)
    assert "2 x cpu" in done.stderr
    assert {path.name for path in folder.glob("*.npy")} == alone.keys() and len(alone) == 4
    for name, vectors in alone.items():
        assert np.abs(np.load(folder / name).astype(float) - vectors).max() < 1e-3, name


def test_a_failing_process_ends_the_others_with_its_message(project: Project) -> None:
    (project.root / "models" / "base" / "tokenizer.json").unlink()
    launch = "distributed.launch('stages.encode', ['base'], 2)"
    launch = f"from embedtune.compute import distributed; from embedtune.core import cli; cli.run(lambda: {launch})"
    done = project.run("python", "-c", launch, check=False)
    assert done.returncode == 1
    assert done.stderr.count("error: models/base/tokenizer.json: no such file") == 1
    assert "Traceback" not in done.stderr
    assert not (project.root / "data" / "embeddings" / ".base.partial").exists()


@pytest.fixture
def machines(project: Project, tmp_path: Path) -> list[Project]:
    """Two machines with a copy of the project each, whose model has no dropout: each process draws its own."""
    from embedtune.models.sample_model import write_sample_model
    from tests.pipeline.conftest import copy

    local = project.root / "models" / "local"
    write_sample_model(local)
    config = json.loads((local / "config.json").read_text())
    config |= {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    (local / "config.json").write_text(json.dumps(config))
    project.edit(model={"name": "local"}, train={"per_device_train_batch_size": 16, "eval_strategy": "epoch"})
    project.stages(*TO_TRAIN, *TO_EVALUATE)
    first = copy(project, tmp_path / "first")
    first.edit(train={"per_device_train_batch_size": 8})
    return [project, first, copy(first, tmp_path / "second")]


def test_two_machines_give_the_metrics_of_one_process(machines: list[Project]) -> None:
    alone, first, second = machines
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    shared = {"PET_NNODES": "2", "PET_MASTER_ADDR": "127.0.0.1", "PET_MASTER_PORT": port, "OMP_NUM_THREADS": "1"}
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    other = subprocess.Popen(
        [sys.executable, "-m", "stages.train", "finetuned"],
        cwd=second.root,
        env={**os.environ, "PATH": path, **shared, "PET_NODE_RANK": "1"},
        stderr=subprocess.PIPE,
        text=True,
    )
    done = first.run("python", "-m", "stages.train", "finetuned", **shared, PET_NODE_RANK="0")
    first.stages(*TO_EVALUATE)
    said = other.communicate(timeout=120)[1]
    assert other.returncode == 0, said
    assert "2 x cpu" in done.stderr
    assert first.metrics("training/finetuned")["batch_size"] == 16
    assert first.metrics("finetuned") == pytest.approx(alone.metrics("finetuned"), abs=1e-4)
    losses, expected = (project.metrics("training/finetuned")["loss_of_epoch"] for project in (first, alone))
    assert losses == pytest.approx(expected, abs=1e-4)
    assert not (second.root / "models" / "finetuned" / "adapter").exists()
    assert first.metrics("finetuned") != first.metrics("base")


RERANKED = {
    "from": "finetuned", "model": "none", "path": "models/none", "revision": "main", "candidates": "finetuned",
    "depth": 10, "passages": 2, "rows": "mined", "objective": "listwise",
}  # fmt: skip
RERANKER = tuple(f"{stage} reranked" for stage in ("reranker_base", "mine_reranker", "train_reranker", "rerank"))


def test_a_decoder_becomes_a_reranker_with_lora(project: Project) -> None:
    """Its scores are sentence-transformers' own, from the token that transformers reads."""
    take_decoder(project)
    project.edit(
        train={"recipe": "from_scratch", "method": "lora", "num_train_epochs": 1},
        rerankers={"reranked": RERANKED},
        rerank={"method": "lora", "num_train_epochs": 2, "max_len": 96},
    )
    project.stages(*TO_TRAIN, *TO_EVALUATE, *RERANKER)
    training = project.metrics("training/reranked")
    assert training["weight_change"] > 0.001
    assert 0 < training["trained_parameters"] < training["parameters"] / 2
    model = project.root / "models" / "reranked"
    assert (model / "adapter" / "adapter_config.json").is_file()
    assert try_cross_encoder(model, torch.device("cpu")) < 1e-4


def test_a_reranker_teaches_a_round_only_where_it_is_better(project: Project) -> None:
    """Its scores stand in the rows and change what is trained; where it is no better, nothing of it is learned."""
    rounds = {"finetuned": {"from": "base", "teacher": "none"}, "distilled": {"from": "base", "teacher": "reranked"}}
    project.edit(rounds=rounds, rerankers={"reranked": RERANKED}, mine={"negatives": 3}, train={"num_train_epochs": 1})
    project.edit(rerank={"num_train_epochs": 1})
    project.edit(train={"teacher_temperature": 0.001})  # one epoch gives it no opinions; else its targets are refused
    project.stages("mine finetuned", "train finetuned", *TO_EVALUATE, *RERANKER)
    verdict = project.root / "metrics" / "teachers" / "reranked.json"
    assert {"better", "metric", "candidates", "reranked", "standard_error", "why"} == json.loads(
        verdict.read_text()
    ).keys()
    mined, losses = project.root / "data" / "mined" / "distilled.jsonl", {}
    for better in (True, False):
        verdict.write_text(json.dumps({"better": better, "why": "so it is"}))
        said = project.stages("mine distilled", "train distilled").said
        losses[better] = project.metrics("training/distilled")["first_loss"]
        assert ("reranked teaches: so it is" in said) == better
        assert ("reranked does not teach, and refuses no negatives: so it is" in said) != better
        assert ("the rows have no scores of reranked" in said) != better
        assert ("questions are left out, since reranked finds every negative as good" in said) == better
        for row in lines(mined):
            assert ("pos_scores" in row) == ("neg_scores" in row) == better
            if better:
                assert max(row["neg_scores"]) <= max(row["pos_scores"]), "mine.teacher_margin is 0"
    project.edit(mine={"positive_passage": "teacher"})
    verdict.write_text(json.dumps({"better": False, "why": "so it is"}))
    assert (
        "mine: BM25 chooses the positives, since there is no teacher to do it" in project.stages("mine distilled").said
    )
    assert losses[True] != losses[False] == project.metrics("training/finetuned")["first_loss"]


def test_a_teacher_that_likes_everything_is_told(project: Project) -> None:
    """A margin beyond all scores leaves no negative, and so nothing to train."""
    rounds = {"finetuned": {"from": "base", "teacher": "none"}, "distilled": {"from": "base", "teacher": "reranked"}}
    project.edit(rounds=rounds, rerankers={"reranked": RERANKED}, mine={"negatives": 3, "teacher_margin": 1000})
    write_with_new_head(project.root / "models" / "base", new_directory(project.root / "models" / "reranked"), seed=1)
    (project.root / "metrics" / "teachers" / "reranked.json").write_text('{"better": true, "why": "so it is"}')
    done = project.stages("mine distilled", check=False)
    assert "error: params.yaml: mine.teacher_margin: reranked finds every negative as good as the positive" in done.said
    assert not (project.root / "data" / "mined" / "distilled.jsonl").exists()


def new_directory(path: Path) -> Path:
    path.mkdir()
    return path
