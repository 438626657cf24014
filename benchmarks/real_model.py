"""A model of multilingual-e5-small's size (12 layers of 384) on a CPU: training steps and encoding, against the peers.

    python -m benchmarks.real_model             all parts, writes results/real_model.json (an hour)
    python -m benchmarks.real_model training    one part anew, into the same file (or encoding)

The weights are random, which changes no time, and the tokenizer is the sample's. Texts are questions and documents of
../shared/data/cmrc2018 (generated ones where that is absent). A step has 32 questions with 2 passages each, of up to
256 tokens; contenders read the same texts with the same loss, InfoNCE among all passages of the batch. `documented` is
sentence-transformers as its documentation has it (fp32, MultipleNegativesRankingLoss), `best` what it can do on a CPU:
bf16, its cached loss with a token budget, no attention dropout. `floor` is the same model and kernels on ready tensors:
forward, backward and optimiser, nothing else; `floor_twice` computes each chunk's forward pass twice, as GradCache has
to. Seconds are of a step, from one end to the next, the first ones left out. Encoding is of 256 passages; peers sort
them by length too.
"""

from __future__ import annotations

import functools
import json
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

from benchmarks.harness import RESULTS, in_turn, medians, read_result, time_over, timed, write_result
from benchmarks.training_peers import flag_embedding, sentence_transformers

REAL = Path(__file__).parents[2] / "shared" / "data" / "cmrc2018" / "mldr-v1.0-zh" / "train.jsonl.gz"
BATCH, GROUP, MAX_LEN, TEMPERATURE, ROUNDS = 32, 2, 256, 0.02, 3
STEPS = 2  # measured ones, after WARM_UP
WARM_UP = 1
PASSAGES = 256
IN_CHUNKS = 2048  # tokens
TRAINING: dict[str, Callable[[Path], list[float]]] = {
    "embedtune": lambda folder: embedtune_steps(folder, "bf16"),
    "embedtune_fp32": lambda folder: embedtune_steps(folder, "fp32"),
    "embedtune_in_chunks": lambda folder: embedtune_steps(folder, "bf16", IN_CHUNKS),
    "floor": lambda folder: floor_steps(folder, once=True),
    "floor_twice": lambda folder: floor_steps(folder, once=False),
    "documented": functools.partial(sentence_transformers, best=False),
    "best": functools.partial(sentence_transformers, best=True),
    "FlagEmbedding": flag_embedding,
}
ENCODING = ["encode", "encode_fp32", "documented", "best"]


def write_data(folder: Path) -> None:
    """The model, the segmented passages, mined rows, and the same rows as texts."""
    from benchmarks.encoding import resize, segment
    from embedtune.core import json_files
    from embedtune.models.base_model import prepare_model
    from embedtune.models.sample_model import write_sample_model

    unprepared, model = folder / "unprepared", folder / "model"
    unprepared.mkdir()
    model.mkdir()
    write_sample_model(unprepared, pooling="mean")
    resize(unprepared, 12, 384, 12)
    prepare_model(unprepared, model, pooling="mean", normalize=True, query_instruction="", passage_instruction="")
    rows = texts(folder)
    passages = [text for row in rows for text in (row["pos"], row["neg"])]
    segment(folder, model, passages, folder / "passages", max_passages=1, max_tokens=MAX_LEN)
    mined = (
        {"query_id": f"q{i}", "query": row["query"], "pos_passages": [2 * i], "neg_passages": [2 * i + 1]}
        for i, row in enumerate(rows)
    )
    json_files.write_json_lines(folder / "mined.jsonl", mined)
    json_files.write_json_lines(folder / "rows.jsonl", rows)


def texts(folder: Path) -> list[dict[str, str]]:
    """As many rows of query, pos and neg as the steps need; a negative is the next row's document."""
    from benchmarks.encoding import generated_documents
    from embedtune.core import json_files

    if REAL.exists():
        found = [(row["query"], row["positive_passages"][0]["text"]) for row in json_files.read_json_lines(REAL)]
    else:
        found = [(text[:30], text) for text in generated_documents(folder)]
    count = BATCH * (STEPS + WARM_UP)
    found = [found[7 * i % len(found)] for i in range(count)]
    return [{"query": query, "pos": text, "neg": found[i - 1][1]} for i, (query, text) in enumerate(found)]


def training_set(folder: Path) -> Any:
    from embedtune.data.passages import open_passages
    from embedtune.mining.mined_rows import read_mined
    from embedtune.models.settings import read_settings
    from embedtune.models.tokenization import load_tokenizer
    from embedtune.training.training_data import read_training_set

    return read_training_set(
        read_mined(folder / "mined.jsonl"),
        load_tokenizer(folder / "model"),
        open_passages(folder / "passages"),
        read_settings(folder / "model"),
        group_size=GROUP,
        query_max_len=MAX_LEN,
        passage_max_len=MAX_LEN,
        distillation=False,
        seed=0,
    )


def embedtune_steps(folder: Path, precision: str, tokens_in_memory: int | None = None) -> list[float]:
    """Embedtune's training, as its stage runs it."""
    import torch

    from embedtune.compute.memory import keep_freed_memory
    from embedtune.training.fine_tune import fine_tune
    from embedtune.training.objectives.contrastive import Contrastive
    from embedtune.training.optimisation import Optimisation
    from embedtune.training.options import Adapter, Batching, Optimizer

    keep_freed_memory(torch.device("cpu"))
    ends: list[float] = []
    step = Optimisation.step

    def noting(self: Optimisation, *arguments: Any) -> Any:
        result = step(self, *arguments)
        ends.append(time.perf_counter())
        return result

    Optimisation.step = noting  # type: ignore[method-assign]
    with tempfile.TemporaryDirectory() as scratch:
        fine_tune(
            folder / "model",
            training_set(folder),
            Contrastive(temperature=TEMPERATURE, mask_false_negatives=False),
            run=Path(scratch) / "run",
            tensorboard=Path(scratch) / "tensorboard",
            adapter=Adapter(attention_dropout=0.0),
            batching=Batching(per_device_train_batch_size=BATCH, tokens_in_memory=tokens_in_memory, seed=0),
            optimizer=Optimizer(precision=precision),
        )
    return [after - before for before, after in pairwise(ends)]


def floor_steps(folder: Path, once: bool) -> list[float]:
    """The model and kernels of embedtune in bf16 on ready tensors, in its chunks."""
    import torch
    from transformers import get_scheduler

    from embedtune.compute.memory import keep_freed_memory
    from embedtune.models.adapters import load_for_training
    from embedtune.models.encode import pad_token_id
    from embedtune.models.settings import read_settings
    from embedtune.training.batches import collate
    from embedtune.training.grad_cache import _part, _split
    from embedtune.training.objectives.contrastive import Contrastive
    from embedtune.training.step_memory import CHUNK_TOKENS

    keep_freed_memory(torch.device("cpu"))
    adapter = {"lora_r": 1, "lora_alpha": 1, "lora_dropout": 0.0, "lora_target_modules": None, "qlora_bits": 4}
    cpu = torch.device("cpu")
    backbone = load_for_training(
        folder / "model", "full", attention_dropout=0.0, **adapter, compute_dtype=torch.float32, device=cpu
    )
    embedder = Contrastive().embedder(backbone, read_settings(folder / "model"))
    data, tokens = training_set(folder), CHUNK_TOKENS["cpu"] if once else IN_CHUNKS
    steps = []
    for start in range(0, len(data), BATCH):
        batch = collate([data[i] for i in range(start, start + BATCH)], pad_token_id(folder / "model"), 1)
        sides = (batch["queries"], batch["passages"])
        steps.append([_part(side, rows) for side in sides for rows in _split(side["attention_mask"], tokens)])
    optimizer = torch.optim.AdamW(embedder.parameters(), lr=2e-5, weight_decay=0.0, fused=True)
    scheduler = get_scheduler("linear", optimizer, 1, len(steps))
    ends = []
    for chunks in steps:
        with torch.autocast("cpu", torch.bfloat16):
            if once:
                embedded = [embedder.encode(chunk) for chunk in chunks]
            else:
                with torch.no_grad():
                    _ = [embedder.encode(chunk) for chunk in chunks]
        for number, chunk in enumerate(chunks):
            if once:
                vectors = embedded[number]
            else:
                with torch.autocast("cpu", torch.bfloat16):
                    vectors = embedder.encode(chunk)
            vectors.backward(torch.ones_like(vectors))
        torch.nn.utils.clip_grad_norm_(embedder.parameters(), 1.0)
        optimizer.step()
        scheduler.step()
        optimizer.zero_grad()
        ends.append(time.perf_counter())
    return [after - before for before, after in pairwise(ends)]


def encoding(contender: str, folder: Path) -> Callable[[], Any]:
    """What encodes the passages once."""
    import numpy as np
    import torch

    from embedtune.compute.device import DTYPES
    from embedtune.compute.memory import keep_freed_memory
    from embedtune.core import json_files

    rows = list(json_files.read_json_lines(folder / "rows.jsonl"))
    passages = [text for row in rows for text in (row["pos"], row["neg"])][:PASSAGES]
    if contender in ("documented", "best"):
        from sentence_transformers import SentenceTransformer

        kwargs = {"dtype": torch.bfloat16} if contender == "best" else {}
        model = SentenceTransformer(str(folder / "model"), device="cpu", model_kwargs=kwargs)
        model.max_seq_length = MAX_LEN
        return lambda: model.encode(passages)
    from embedtune.models.encoder import load_encoder

    keep_freed_memory(torch.device("cpu"))
    encoder = load_encoder(folder / "model", dtype=DTYPES["fp32" if contender == "encode_fp32" else "bf16"])
    return lambda: np.asarray(encoder.encode_passages(passages, MAX_LEN))


def contend(part: str, contender: str, folder: Path) -> None:
    """Run one contender and print its seconds, and the peak memory of its process."""
    from embedtune.compute.memory import peak_ram_bytes

    if part == "encoding":
        encode = encoding(contender, folder)
        encode()
        timed(encode)
        return
    seconds = TRAINING[contender](folder)
    measured = statistics.median(seconds[WARM_UP - 1 :])
    of_children = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024  # FlagEmbedding trains in one
    print(json.dumps({"seconds": measured, "peak_bytes": max(peak_ram_bytes(), of_children)}), flush=True)


def ratios(runs: dict[str, list[dict[str, float]]], pairs: dict[str, tuple[str, str]]) -> dict[str, float]:
    """Name -> how many times as long the second takes as the first."""
    return {name: time_over(runs, theirs, ours) for name, (ours, theirs) in pairs.items()}


def main() -> None:
    if len(sys.argv) == 4 and sys.argv[1] in ("training", "encoding"):
        contend(sys.argv[1], sys.argv[2], Path(sys.argv[3]))
        return
    parts = sys.argv[1:2] or ["training", "encoding"]
    result: dict[str, Any] = read_result("real_model") if (RESULTS / "real_model.json").exists() else {}
    result = {key: value for key, value in result.items() if key not in ("hardware", "packages")}
    result |= {"real_documents": REAL.exists()}
    pairs = {
        "training": {
            "documented": ("embedtune", "documented"),
            "documented_both_fp32": ("embedtune_fp32", "documented"),
            "best": ("embedtune", "best"),
            "FlagEmbedding": ("embedtune", "FlagEmbedding"),
            "floor": ("embedtune", "floor"),
            "in_chunks_floor_twice": ("embedtune_in_chunks", "floor_twice"),
        },
        "encoding": {
            "documented": ("encode", "documented"),
            "documented_both_fp32": ("encode_fp32", "documented"),
            "best": ("encode", "best"),
        },
    }
    with tempfile.TemporaryDirectory() as scratch:
        write_data(Path(scratch))
        for part in parts:
            contenders = list(TRAINING) if part == "training" else ENCODING
            runs = in_turn("benchmarks.real_model", [f"{part} {name}" for name in contenders], [scratch], ROUNDS)
            runs = {name.split()[1]: found for name, found in runs.items()}
            result[part] = {
                "rounds": ROUNDS,
                "median": {
                    name: {"seconds": round(found["seconds"], 3), "peak_gb": round(found["peak_bytes"] / 1e9, 2)}
                    for name, found in medians(runs).items()
                },
                "times_as_fast_as": ratios(runs, pairs[part]),
            }
            write_result("real_model", result)


if __name__ == "__main__":
    main()
