"""Training on this machine: against ready tensors (the floor), FlagEmbedding's command line, and GradCache's promise.

    python -m benchmarks.training              all parts, interleaved rounds, writes results/training.json
    python -m benchmarks.training cache        GradCache's part anew, into the same file

Texts are the ten real MLDR rows of ../shared/data/mldr-zh-10, repeated (generated ones where that is absent); batch
16, group 8, lengths 256/256; models: the sample's (2 layers of 128) and one of bge-small's size (4 layers of 512), on
a GPU also one of bge-base's size (12 layers of 768). `floor` takes the same steps (FlagEmbedding's model and loss,
AdamW, clipping, schedule) on batches that are ready tensors. Seconds are of a step, from the start of one to the start
of the next, the first ones left out. Memory is what training takes beyond the loaded model, the most at any time.
"""

from __future__ import annotations

import json
import statistics
import sys
import tempfile
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

import psutil

from benchmarks.harness import interleaved, read_result, write_result
from benchmarks.training_peers import flag_embedding_seconds
from benchmarks.training_workload import BATCH, GROUP, MAX_LEN, REAL, STEPS, training_set, write_data

TEMPERATURE = 0.02
WARM_UP = 1
ROUNDS = {"sample": 5, "small": 3, "base": 5}  # the cores are busy half a minute with each step of the small one
Measured = tuple[list[float], int]  # seconds of each step, bytes taken
FLAG_STEPS = {"sample": 4, "small": 2, "base": 12}
CACHE_GROUP, CACHE_MAX_LEN, CACHE_CHUNK = 2, 64, 32
TITLES = {"sample": "2 layers of 128", "small": "4 layers of 512", "base": "12 layers of 768"}


def on_gpu() -> bool:
    import torch

    return torch.cuda.is_available()


def held_bytes() -> int:
    """Memory that this process holds now: on the GPU, or without one in RAM (see `give_back_freed_memory`)."""
    import torch

    return torch.cuda.memory_allocated() if on_gpu() else psutil.Process().memory_info().rss


def peak_bytes() -> int:
    """The most that this process has held."""
    from embedtune.compute import hardware
    from embedtune.compute.device import pick_device

    peak = hardware.peak_bytes(pick_device())
    return peak["peak_gpu_bytes"] or peak["peak_ram_bytes"]


def give_back_freed_memory() -> None:
    """Let glibc's malloc return freed blocks of 64 KiB and more at once: what is in RAM is then what is in use."""
    import ctypes

    trim_threshold, mmap_threshold = -1, -3  # M_TRIM_THRESHOLD, M_MMAP_THRESHOLD in malloc.h
    libc = ctypes.CDLL(None)
    if hasattr(libc, "mallopt") and not (libc.mallopt(trim_threshold, 0) and libc.mallopt(mmap_threshold, 65_536)):
        sys.exit("malloc takes no thresholds")


def precision() -> str:
    return "bf16" if on_gpu() else "fp32"


def fine_tune_steps(
    folder: Path, name: str, data: Any, batch: int, tokens_in_memory: int | None
) -> tuple[list[float], int, float]:
    """Seconds of each step of embedtune's training, loading left out, how much memory it took from there on, and the
    floating-point operations of a step (those computed twice count once)."""
    from embedtune.training.fine_tune import fine_tune
    from embedtune.training.flops import training_flops
    from embedtune.training.objectives.contrastive import Contrastive
    from embedtune.training.optimisation import Optimisation
    from embedtune.training.options import Batching, Optimizer

    starts: list[float] = []
    before = 0
    step = Optimisation.step

    def noting(self: Optimisation, *arguments: Any) -> Any:
        nonlocal before
        before = before or held_bytes()
        starts.append(time.perf_counter())
        return step(self, *arguments)

    Optimisation.step = noting  # type: ignore[method-assign]
    with tempfile.TemporaryDirectory() as scratch:
        trained = fine_tune(
            folder / name,
            data,
            Contrastive(temperature=TEMPERATURE, mask_false_negatives=False),
            run=Path(scratch) / "run",
            tensorboard=Path(scratch) / "tensorboard",
            batching=Batching(
                per_device_train_batch_size=batch,
                tokens_in_memory=tokens_in_memory,
                dataloader_drop_last=True,
                dataloader_num_workers=2 if on_gpu() else 0,
                seed=0,
            ),
            optimizer=Optimizer(precision=precision()),
        )
    record = trained.record
    length = record.tokens / (record.questions * (data.group_size + 1))
    flops = training_flops(trained.backbone, trained.backbone.config, record.tokens, length) / record.step
    return [later - earlier for earlier, later in pairwise(starts)], peak_bytes() - before, flops


def floor_steps(folder: Path, name: str, steps: int) -> Measured:
    """Seconds of each step on ready tensors, on the device: nothing but model, loss, optimiser, schedule."""
    import torch
    from FlagEmbedding.finetune.embedder.encoder_only.base import BiEncoderOnlyEmbedderModel
    from transformers import AutoModel, get_scheduler

    from embedtune.compute.device import pick_device
    from embedtune.training.batches import collate

    device = pick_device()
    data = training_set(folder, name, BATCH, steps)
    batches = []
    for number in range(steps):
        batch = collate([data[i] for i in range(number * BATCH, (number + 1) * BATCH)], 0, 8 if on_gpu() else 1)
        batches.append({s: {k: v.to(device) for k, v in batch[s].items()} for s in ("queries", "passages")})
    backbone = AutoModel.from_pretrained(folder / name, dtype=torch.float32).to(device)
    model = BiEncoderOnlyEmbedderModel(
        backbone, temperature=TEMPERATURE, sentence_pooling_method="cls", normalize_embeddings=True
    ).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-5, weight_decay=0.0, fused=True)
    scheduler = get_scheduler("linear", optimizer, 1, steps)
    starts = []
    for batch in batches:
        starts.append(time.perf_counter())
        with torch.autocast(device.type, torch.bfloat16, enabled=on_gpu()):
            loss = model(**batch).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        scheduler.step()
        optimizer.zero_grad()
        loss.item()
    return [later - earlier for earlier, later in pairwise(starts)], 0


def flag_embedding_steps(folder: Path, name: str, steps: int) -> Measured:
    """Seconds of a step by FlagEmbedding's own command line, from what its trainer reports of the whole training."""
    flags = {
        "model_name_or_path": folder / name,
        "train_group_size": GROUP,
        "query_max_len": MAX_LEN,
        "passage_max_len": MAX_LEN,
        "per_device_train_batch_size": BATCH,
        "warmup_steps": 1,
        "temperature": TEMPERATURE,
        "sentence_pooling_method": "cls",
        "logging_steps": steps,
        **({"bf16": True, "dataloader_num_workers": 2} if on_gpu() else {"use_cpu": True}),
    }
    lines = (folder / "flag.jsonl").read_text(encoding="utf-8").splitlines(keepends=True)
    seconds = flag_embedding_seconds(lines[: BATCH * steps], flags)
    return [seconds / steps] * (WARM_UP + 1), 0


def bare_passes(folder: Path, name: str, data: Any) -> Measured:
    """Seconds of two forward passes and a backward, chunk by chunk, on ready tensors: what GradCache has to do."""
    import torch
    from transformers import AutoModel

    from embedtune.compute.device import pick_device
    from embedtune.training.batches import collate

    device = pick_device()
    whole = collate([data[i] for i in range(len(data))], 0, 8 if on_gpu() else 1)
    model = AutoModel.from_pretrained(folder / name, dtype=torch.float32).to(device).train()
    seconds = []
    for _ in range(WARM_UP + 1):
        started = time.perf_counter()
        for side in ("queries", "passages"):
            ids, mask = (whole[side][key].split(CACHE_CHUNK) for key in ("input_ids", "attention_mask"))
            for chunk_ids, chunk_mask in zip(ids, mask, strict=True):
                inputs = {"input_ids": chunk_ids.to(device), "attention_mask": chunk_mask.to(device)}
                with torch.autocast(device.type, torch.bfloat16, enabled=on_gpu()):
                    with torch.no_grad():
                        model(**inputs)
                    hidden = model(**inputs).last_hidden_state
                hidden[:, 0].float().sum().backward()
        float(next(p.grad for p in model.parameters() if p.grad is not None).sum())
        seconds.append(time.perf_counter() - started)
    return seconds, 0


def contend(contender: str, folder: Path, name: str) -> None:
    """Run one contender and print its seconds a step and, where it counts, the memory it took."""
    from embedtune.compute import hardware
    from embedtune.compute.device import pick_device
    from embedtune.compute.memory import keep_freed_memory
    from embedtune.training import flops

    figures: dict[str, float] = {}
    if not contender.startswith("memory"):
        keep_freed_memory(pick_device())  # as the stage does; FlagEmbedding runs in a process of its own
    if contender == "floor":
        seconds, taken = floor_steps(folder, name, STEPS[name])
    elif contender == "FlagEmbedding":
        seconds, taken = flag_embedding_steps(folder, name, FLAG_STEPS[name])
    elif contender == "embedtune":
        data = training_set(folder, name, BATCH, STEPS[name])
        seconds, taken, flops = fine_tune_steps(folder, name, data, BATCH, None)
        if on_gpu():
            rate = hardware.matrix_rate(pick_device(), precision())
            figures["share_of_matrix_rate"] = flops / statistics.mean(seconds[WARM_UP:]) / rate
    else:
        batch = int(contender.split("_")[-1])
        steps = {"bare": 1, "memory": 2, "batch": 4}[contender.split("_")[0]]
        if contender.startswith("memory"):
            give_back_freed_memory()
        data = training_set(folder, name, batch, steps, CACHE_GROUP, CACHE_MAX_LEN)
        if contender.startswith("bare"):
            seconds, taken = bare_passes(folder, name, data)
        else:
            seconds, taken, _ = fine_tune_steps(folder, name, data, batch, CACHE_CHUNK * CACHE_MAX_LEN)
    figures |= {"seconds": statistics.mean(seconds[WARM_UP:] or seconds), "bytes": taken}
    print(json.dumps(figures), flush=True)


def main() -> None:
    if len(sys.argv) > 2:
        contend(sys.argv[1], Path(sys.argv[2]), sys.argv[3])
        return
    only_cache = sys.argv[1:] == ["cache"]
    names = ["sample", "small", *(["base"] if on_gpu() else [])]
    result: dict[str, Any] = {"real_documents": REAL.exists(), "batch": BATCH, "group": GROUP, "steps": {}}
    if only_cache:
        result = {key: value for key, value in read_result("training").items() if key not in ("hardware", "packages")}
    with tempfile.TemporaryDirectory() as scratch:
        write_data(Path(scratch))
        for name in [] if only_cache else names:
            medians = interleaved(
                "benchmarks.training", ["embedtune", "floor", "FlagEmbedding"], [scratch, name], ROUNDS[name]
            )
            seconds = {contender: figures["seconds"] for contender, figures in medians.items()}
            result["steps"][TITLES[name]] = {
                "rounds": ROUNDS[name],
                "median_seconds": {contender: round(value, 4) for contender, value in seconds.items()},
                **{key: round(value, 3) for key, value in medians["embedtune"].items() if key.startswith("share")},
                "time_over": {
                    peer: round(seconds["embedtune"] / seconds[peer], 3) for peer in ("floor", "FlagEmbedding")
                },
            }
        contenders = ["batch_1024", "bare_passes_1024", "memory_1024", "memory_32"]
        medians = interleaved("benchmarks.training", contenders, [scratch, "sample"], ROUNDS["small"])
        large, bare = (medians[name]["seconds"] for name in contenders[:2])
        memory_large, memory_small = (medians[name]["bytes"] for name in contenders[2:])
        result["grad_cache"] = {
            "chunk": CACHE_CHUNK,
            "group": CACHE_GROUP,
            "max_len": CACHE_MAX_LEN,
            "median_seconds": {"batch_1024": round(large, 4), "two_forwards_and_a_backward": round(bare, 4)},
            "bytes_taken": {"batch_1024": memory_large, "batch_32": memory_small},
            "memory_of_1024_over_32": round(memory_large / memory_small, 3),
            "time_over_two_forwards_and_a_backward": round(large / bare, 3),
        }
    write_result("training", result)


if __name__ == "__main__":
    main()
