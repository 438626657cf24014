"""The peers' trainers, through the doors that their documentation names: on the rows of real_model.py, or on any."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from itertools import pairwise
from pathlib import Path
from typing import Any


def sentence_transformers(folder: Path, best: bool) -> list[float]:
    """Seconds of each step of sentence-transformers' trainer: as documented (fp32), or at its best on a CPU."""
    from datasets import Dataset
    from sentence_transformers import (
        SentenceTransformer,
        SentenceTransformerTrainer,
        SentenceTransformerTrainingArguments,
        losses,
    )
    from transformers import TrainerCallback

    from benchmarks.real_model import BATCH, MAX_LEN, TEMPERATURE

    ends: list[float] = []

    class Noting(TrainerCallback):
        def on_step_end(self, *_: Any, **__: Any) -> None:
            ends.append(time.perf_counter())

    config = {"attention_probs_dropout_prob": 0.0} if best else {}
    model = SentenceTransformer(str(folder / "model"), device="cpu", config_kwargs=config)
    model.max_seq_length = MAX_LEN
    scale = 1 / TEMPERATURE
    if best:
        loss: Any = losses.CachedMultipleNegativesRankingLoss(model, scale=scale, mini_batch_num_tokens=8192)
    else:
        loss = losses.MultipleNegativesRankingLoss(model, scale=scale)
    rows = [json.loads(line) for line in (folder / "rows.jsonl").read_text(encoding="utf-8").splitlines()]
    with tempfile.TemporaryDirectory() as scratch:
        arguments = SentenceTransformerTrainingArguments(
            output_dir=scratch,
            per_device_train_batch_size=BATCH,
            num_train_epochs=1,
            learning_rate=2e-5,
            bf16=best,
            use_cpu=True,
            save_strategy="no",
            report_to="none",
            disable_tqdm=True,
        )
        data = Dataset.from_list([{"anchor": r["query"], "positive": r["pos"], "negative": r["neg"]} for r in rows])
        trainer = SentenceTransformerTrainer(
            model=model, args=arguments, train_dataset=data, loss=loss, callbacks=[Noting()]
        )
        trainer.train()
    return [after - before for before, after in pairwise(ends)]


def flag_embedding(folder: Path) -> list[float]:
    """The mean seconds of a step of FlagEmbedding's command line."""
    from benchmarks.real_model import BATCH, GROUP, MAX_LEN, STEPS, TEMPERATURE, WARM_UP

    steps = STEPS + WARM_UP
    rows = [json.loads(line) for line in (folder / "rows.jsonl").read_text(encoding="utf-8").splitlines()]
    lines = ({"query": row["query"], "pos": [row["pos"]], "neg": [row["neg"]]} for row in rows)
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


def flag_embedding_seconds(lines: list[str], flags: dict[str, Any]) -> float:
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
            "normalize_embeddings": True,
            "dataloader_drop_last": True,
            "save_strategy": "no",
            "report_to": "none",
            **flags,
        }
        command = [sys.executable, "-m", "FlagEmbedding.finetune.embedder.encoder_only.base"]
        arguments = [part for key, value in flags.items() for part in (f"--{key}", str(value))]
        done = subprocess.run([*command, *arguments], capture_output=True, text=True)
    said = done.stdout + done.stderr
    runtime = [line for line in said.splitlines() if "train_runtime" in line]
    if not runtime:
        sys.exit(f"FlagEmbedding's command line failed:\n{said[-3000:]}")
    return float(runtime[-1].split("'train_runtime':")[1].split(",")[0].strip(" '"))
