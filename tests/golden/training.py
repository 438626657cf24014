"""A small training set, a small model and the options to train it with, for the tests of training."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from transformers import AutoModel, AutoTokenizer

from embedtune.compute import distributed
from embedtune.data.passages import Passages, open_passages, read_texts
from embedtune.data.segment import write_passages
from embedtune.mining.mined_rows import MinedRow, read_mined
from embedtune.models.settings import read_settings, write_settings
from embedtune.models.tokenization import frame, load_tokenizer, tokenize_queries
from embedtune.training.fine_tune import Trained, fine_tune
from embedtune.training.objectives.contrastive import Contrastive
from embedtune.training.options import Adapter, Batching, Evaluating, Optimizer, Saving, from_section
from embedtune.training.training_data import TrainingSet

QUESTIONS = 37
QUERY_MAX_LEN = 24
PASSAGE_MAX_LEN = 32
OPTIONS: dict[str, Any] = {
    "method": "full",
    "lora_r": 4,
    "lora_alpha": 8,
    "lora_dropout": 0.0,
    "lora_target_modules": None,
    "qlora_bits": 4,
    "num_train_epochs": 3,
    "per_device_train_batch_size": 8,
    "gradient_accumulation_steps": 1,
    "tokens_in_memory": None,
    "attention_dropout": "own",
    "temperature": 0.05,
    "negatives": "cross_device",
    "mask_false_negatives": False,
    "false_negative_margin": None,
    "matryoshka_dims": [],
    "teacher_temperature": 1.0,
    "distillation": "kl",
    "distillation_share": 0.5,
    "learning_rate": 1e-3,
    "lr_scheduler_type": "linear",
    "warmup_ratio": 0.3,
    "weight_decay": 0.1,
    "max_grad_norm": 1.0,
    "precision": "fp32",
    "gradient_checkpointing": False,
    "dataloader_drop_last": True,
    "dataloader_num_workers": 0,
    "group_by_length": False,
    "logging_steps": 1,
    "eval_strategy": "no",
    "eval_steps": 2,
    "metric_for_best_model": "ndcg@10",
    "early_stopping_patience": None,
    "save_strategy": "no",
    "save_steps": 2,
    "save_total_limit": None,
    "seed": 42,
}


@dataclass(frozen=True)
class Data:
    """A corpus cut into passages, and mined rows for it: each one positive and three negatives."""

    mined: Path
    rows: list[MinedRow]
    passages: Passages


@contextlib.contextmanager
def first_gradients() -> Iterator[dict[str, torch.Tensor]]:
    """The gradients of the first step of what is trained within the context, summed over processes, by number."""
    first: dict[str, torch.Tensor] = {}
    add_up = distributed.all_reduce_gradients

    def noting(parameters: list[torch.nn.Parameter]) -> None:
        add_up(parameters)
        if not first:
            first.update({str(i): p.grad.clone() for i, p in enumerate(parameters) if p.grad is not None})

    distributed.all_reduce_gradients = noting
    try:
        yield first
    finally:
        distributed.all_reduce_gradients = add_up


def make_data(root: Path, sample_model: Path) -> Data:
    rng = np.random.default_rng(0)
    pieces = [
        *"合同自双方签字之日起生效国家对耕地实行特殊保护严格控制转为非，。；",
        " Word ",
        "bge-m3",
        " 2024 ",
        "(甲)",
        "\n",
    ]
    with (root / "corpus.jsonl").open("w", encoding="utf-8") as file:
        for number, size in enumerate(rng.integers(1, 300, 60)):
            text = f"第{number}条" + "".join(rng.choice(pieces, size))
            file.write(json.dumps({"_id": f"d{number}", "text": text}, ensure_ascii=False) + "\n")
    write_passages(
        root / "corpus.jsonl",
        load_tokenizer(sample_model),
        root,
        max_tokens=48,
        frame_tokens=2,
        overlap_tokens=5,
        max_passages=None,
    )
    passages = open_passages(root)
    with (root / "train.jsonl").open("w", encoding="utf-8") as file:
        for number in range(QUESTIONS):
            chosen = rng.choice(len(passages), 4, replace=False)
            texts = read_texts(root / "corpus.jsonl", passages, chosen)
            row = {
                "query_id": f"q{number}",
                "query": f"问题{number}" + "".join(rng.choice(pieces, rng.integers(1, 9))) + texts[0][:9],
                "pos": texts[:1],
                "neg": texts[1:],
                "pos_passages": chosen[:1].tolist(),
                "neg_passages": chosen[1:].tolist(),
                "pos_scores": [0.5],
                "neg_scores": [0.1, 0.2, 0.3],
            }
            file.write(json.dumps(row, ensure_ascii=False) + "\n")
    return Data(root / "train.jsonl", read_mined(root / "train.jsonl"), passages)


def changed_model(target: Path, source: Path, dropout: float, **settings: Any) -> Path:
    model, tokenizer = AutoModel.from_pretrained(source), AutoTokenizer.from_pretrained(source)
    model.config.hidden_dropout_prob = model.config.attention_probs_dropout_prob = dropout
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if weight.dim() > 1:
                weight.add_((0.005 if "embeddings" in name else 0.1) * torch.randn(weight.shape, generator=generator))
    model.save_pretrained(target)
    tokenizer.save_pretrained(target)
    write_settings(target, replace(read_settings(source), **settings), model.config.hidden_size)
    return target


def training_set(
    base: Path,
    data: Data,
    *,
    group_size: int = 4,
    passage_max_len: int = PASSAGE_MAX_LEN,
    distillation: bool = False,
) -> TrainingSet:
    """As the train stage makes it."""
    settings, tokenizer = read_settings(base), load_tokenizer(base)
    return TrainingSet(
        data.rows,
        tokenize_queries(tokenizer, [row.query for row in data.rows], settings.query_instruction, QUERY_MAX_LEN),
        data.passages,
        frame(tokenizer, settings.passage_instruction),
        group_size=group_size,
        passage_max_len=passage_max_len,
        distillation=distillation,
        seed=42,
    )


def tuning(options: dict[str, Any]) -> dict[str, Any]:
    """The arguments of `fine_tune` after the training set: OPTIONS, some of them changed, in its dataclasses.

    An `objective` that is given stands in place of the contrastive one.
    """
    given = OPTIONS | options
    flat = SimpleNamespace(**given)
    grouped = {
        "adapter": Adapter,
        "batching": Batching,
        "optimizer": Optimizer,
        "evaluating": Evaluating,
        "saving": Saving,
        "objective": Contrastive,
    }
    known = {name for kind in grouped.values() for name in kind.__dataclass_fields__}
    others = {name: value for name, value in given.items() if name not in known}
    return {name: from_section(kind, flat) for name, kind in grouped.items()} | others


def run(base: Path, questions: TrainingSet, scratch: Path, **options: Any) -> Trained:
    """Fine-tune with OPTIONS, some of them changed; checkpoints and logs go to `scratch`."""
    where = {"run": scratch / "run", "tensorboard": scratch / "tensorboard", "dev": None}
    return fine_tune(base, questions, **tuning(where | options))


def weights(trained: Trained) -> dict[str, torch.Tensor]:
    return {name: tensor.detach().clone() for name, tensor in trained.backbone.state_dict().items()}


def largest_difference(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> float:
    """The largest difference of any gradient, relative to its parameter's largest.

    A key's bias has none but rounding errors (softmax does not see it): relative to a thousandth of the largest of all.
    """
    assert one.keys() == other.keys()
    least = max(float(gradient.abs().max()) for gradient in other.values()) / 1000
    return max(float((one[n] - other[n]).abs().max()) / max(least, float(other[n].abs().max())) for n in one)


def assert_equal_runs(one: Trained, other: Trained) -> None:
    """Bit-equal weights, losses and accuracies."""
    theirs = weights(other)
    for name, tensor in weights(one).items():
        assert torch.equal(tensor, theirs[name]), name
    assert one.record.log == other.record.log
