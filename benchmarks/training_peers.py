"""The peers' trainers, through the doors that their documentation names: on the rows of a benchmark, or on any."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

EMBEDDER, RERANKER = (f"FlagEmbedding.finetune.{kind}.encoder_only.base" for kind in ("embedder", "reranker"))


def sentence_transformers(folder: Path, best: bool) -> list[float]:
    """Seconds of each step of sentence-transformers' trainer: as documented (fp32), or at its best on a CPU."""
    from datasets import Dataset
    from sentence_transformers import (
        SentenceTransformer,
        SentenceTransformerTrainer,
        SentenceTransformerTrainingArguments,
        losses,
    )

    from benchmarks.real_model import BATCH, MAX_LEN, TEMPERATURE

    config = {"attention_probs_dropout_prob": 0.0} if best else {}
    model = SentenceTransformer(str(folder / "model"), device="cpu", config_kwargs=config)
    model.max_seq_length = MAX_LEN
    scale = 1 / TEMPERATURE
    if best:
        loss: Any = losses.CachedMultipleNegativesRankingLoss(model, scale=scale, mini_batch_num_tokens=8192)
    else:
        loss = losses.MultipleNegativesRankingLoss(model, scale=scale)
    data = Dataset.from_list(
        [{"anchor": r["query"], "positive": r["pos"], "negative": r["neg"]} for r in _rows(folder)]
    )
    with tempfile.TemporaryDirectory() as scratch:
        arguments = SentenceTransformerTrainingArguments(**_arguments(scratch, BATCH, bf16=best))
        return _steps(SentenceTransformerTrainer(model=model, args=arguments, train_dataset=data, loss=loss))


def sentence_transformers_reranker(
    folder: Path, bf16: bool, attention_dropout: bool, mini_batch: int | None
) -> list[float]:
    """Seconds of each step of sentence-transformers' CrossEncoderTrainer; `mini_batch` None is its own."""
    from datasets import Dataset
    from sentence_transformers.cross_encoder import (
        CrossEncoder,
        CrossEncoderTrainer,
        CrossEncoderTrainingArguments,
        losses,
    )

    from benchmarks.rerankers import BATCH, MAX_LEN

    config = {} if attention_dropout else {"attention_probs_dropout_prob": 0.0}
    model = CrossEncoder(str(folder / "model"), device="cpu", max_length=MAX_LEN, config_kwargs=config)
    loss = losses.ListNetLoss(model, mini_batch_size=mini_batch)
    columns = [
        {
            "query": row["query"],
            "docs": row["pos"] + row["neg"],
            "labels": [1] * len(row["pos"]) + [0] * len(row["neg"]),
        }
        for row in _rows(folder)
    ]
    with tempfile.TemporaryDirectory() as scratch:
        arguments = CrossEncoderTrainingArguments(**_arguments(scratch, BATCH, bf16))
        data = Dataset.from_list(columns)
        return _steps(CrossEncoderTrainer(model=model, args=arguments, train_dataset=data, loss=loss))


def _rows(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "rows.jsonl").read_text(encoding="utf-8").splitlines()]


def _arguments(scratch: str, batch: int, bf16: bool) -> dict[str, Any]:
    """Of Hugging Face's trainers."""
    return {
        "output_dir": scratch,
        "per_device_train_batch_size": batch,
        "num_train_epochs": 1,
        "learning_rate": 2e-5,
        "bf16": bf16,
        "use_cpu": True,
        "save_strategy": "no",
        "report_to": "none",
        "disable_tqdm": True,
    }


def _steps(trainer: Any) -> list[float]:
    """Train, and give the seconds from the end of each step to that of the next."""
    from transformers import TrainerCallback

    ends: list[float] = []

    class Noting(TrainerCallback):
        def on_step_end(self, *_: Any, **__: Any) -> None:
            ends.append(time.perf_counter())

    trainer.add_callback(Noting())
    trainer.train()
    return [after - before for before, after in pairwise(ends)]


def flag_embedding(folder: Path) -> list[float]:
    """The mean seconds of a step of FlagEmbedding's command line."""
    from benchmarks.real_model import BATCH, GROUP, MAX_LEN, STEPS, TEMPERATURE, WARM_UP

    steps = STEPS + WARM_UP
    lines = [{"query": row["query"], "pos": [row["pos"]], "neg": [row["neg"]]} for row in _rows(folder)]
    flags = {
        "model_name_or_path": folder / "model",
        "train_group_size": GROUP,
        "query_max_len": MAX_LEN,
        "passage_max_len": MAX_LEN,
        "per_device_train_batch_size": BATCH,
        "temperature": TEMPERATURE,
        "sentence_pooling_method": "mean",
        "logging_steps": steps,
        "use_cpu": True,
    }
    seconds = flag_embedding_seconds([json.dumps(line, ensure_ascii=False) + "\n" for line in lines], flags)
    return [seconds / steps] * steps


def flag_embedding_reranker(folder: Path, bf16: bool, attention_dropout: bool) -> list[float]:
    """The mean seconds of a step of FlagEmbedding's command line for rerankers."""
    from benchmarks.rerankers import BATCH, GROUP, MAX_LEN

    lines = (folder / "rows.jsonl").read_text(encoding="utf-8").splitlines(keepends=True)
    steps = len(lines) // BATCH
    model, flags = folder / "model", {"bf16": True} if bf16 else {}
    with tempfile.TemporaryDirectory() as config:
        if not attention_dropout:
            own = json.loads((model / "config.json").read_text(encoding="utf-8"))
            own["attention_probs_dropout_prob"] = 0.0
            (Path(config) / "config.json").write_text(json.dumps(own), encoding="utf-8")
            flags["config_name"] = config
        flags |= {
            "model_name_or_path": model,
            "train_group_size": GROUP,
            "query_max_len": MAX_LEN // 8,  # a pair has up to the sum of both, and a question may have more than this
            "passage_max_len": MAX_LEN - MAX_LEN // 8,
            "per_device_train_batch_size": BATCH,
            "logging_steps": steps,
            "use_cpu": True,
        }
        seconds = flag_embedding_seconds(lines, flags, RERANKER)
    return [seconds / steps] * steps


def flag_embedding_seconds(lines: list[str], flags: dict[str, Any], trainer: str = EMBEDDER) -> float:
    """The seconds of an epoch over the lines by FlagEmbedding's own command line, as its trainer reports them."""
    with tempfile.TemporaryDirectory() as scratch:
        data = Path(scratch) / "train.jsonl"
        data.write_text("".join(lines), encoding="utf-8")
        flags = {
            "train_data": data,
            "cache_path": Path(scratch) / "cache",
            "output_dir": Path(scratch) / "out",
            "num_train_epochs": 1,
            "learning_rate": 2e-5,
            **({"normalize_embeddings": True} if trainer == EMBEDDER else {}),
            "dataloader_drop_last": True,
            "save_strategy": "no",
            "report_to": "none",
            **flags,
        }
        command = [sys.executable, "-m", trainer]
        arguments = [part for key, value in flags.items() for part in (f"--{key}", str(value))]
        done = subprocess.run([*command, *arguments], capture_output=True, text=True)
    said = done.stdout + done.stderr
    runtime = [line for line in said.splitlines() if "train_runtime" in line]
    if not runtime:
        sys.exit(f"FlagEmbedding's command line failed:\n{said[-3000:]}")
    return float(runtime[-1].split("'train_runtime':")[1].split(",")[0].strip(" '"))
