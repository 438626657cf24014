"""Cross-encoders of multilingual-e5-small's size (12 layers of 384) on a CPU, against the peers: training and scoring.

    python -m benchmarks.rerankers               both parts, writes results/rerankers.json (an hour and a half)
    python -m benchmarks.rerankers training      one part anew, into the same file (or scoring)
    python -m benchmarks.rerankers --small       a round of few steps and pairs, which writes no file: does it all work?

The weights are random, which changes no time, and the tokenizer is the sample's. Texts are questions and documents of
../shared/data/cmrc2018 (generated ones where that is absent), cut so that their lengths spread evenly; a pair has up to
256 tokens. A step has 8 questions with 8 documents each, one of them relevant, and a listwise loss. All contenders read
the same texts. `documented` is a peer as its documentation has it (fp32, dropout as the model has it), otherwise a
contender is named by its precision and, where it takes one, its batch size (in training, the pairs of a forward pass);
the fastest of a peer's is the peer at its best. None of these has attention dropout, which the documentation leaves to
the model. bf16 is measured where embedtune's `auto` chooses it.

`floor` is the same model, kernels, loss and optimiser on ready tensors, in the same chunks. Seconds are of a step, from
one end to the next, the first left out (for FlagEmbedding's command line: of all its steps, as it tells no others).
Scoring begins at the texts, after some pairs that are not counted. `aims` are what embedtune is to reach.
"""

from __future__ import annotations

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

import numpy as np

from benchmarks.harness import RESULTS, Runs, in_turn, medians, read_result, time_over, timed, write_result
from benchmarks.real_model import REAL
from benchmarks.training_peers import flag_embedding_reranker, sentence_transformers_reranker

BATCH, GROUP, MAX_LEN = 8, 8, 256
DOCUMENTS = 20  # of a question, when pairs are scored
CHARACTERS = (80, 300)  # of the shortest and of the longest document; nearly as many tokens
ROUNDS, STEPS, PAIRS = 3, 4, 1000
SMALL_ROUNDS, SMALL_STEPS, SMALL_PAIRS = 1, 1, 80
WARM_UP = 1  # steps
WARM_UP_PAIRS = 64
BATCH_TOKENS = 2048
DOCUMENTED = "documented"
MINI_BATCHES = (8, 16, 64)  # of sentence-transformers' loss; 8 is its default here
BATCH_SIZES = (8, 16, 32)
FLOOR_AIM = 0.95  # a step takes at most 1.05 times as long as its floor
PEERS = ("sentence_transformers", "FlagEmbedding")


def contenders(part: str, precision: str) -> list[str]:
    """Their names, which are their arguments; `precision` is what `auto` is here."""
    ours = [f"embedtune {precision}", "embedtune fp32"]
    if part == "training":
        found = [*ours, f"floor {precision}", "floor fp32", f"sentence_transformers {DOCUMENTED}"]
        found += [f"sentence_transformers {precision} {size}" for size in MINI_BATCHES]
        found += [f"FlagEmbedding {DOCUMENTED}", f"FlagEmbedding {precision}"]
    else:
        found = [*ours, f"sentence_transformers {DOCUMENTED}"]
        found += [f"sentence_transformers {precision} {size}" for size in BATCH_SIZES]
        found += [f"FlagEmbedding {DOCUMENTED}", *(f"FlagEmbedding fp32 {size}" for size in BATCH_SIZES)]
    return list(dict.fromkeys(found))


def write_data(folder: Path, steps: int, pairs: int) -> None:
    """The cross-encoder, training rows and the pairs to score."""
    from benchmarks.encoding import resize
    from embedtune.core import json_files
    from embedtune.models.base_model import prepare_model
    from embedtune.models.new_head import write_with_new_head
    from embedtune.models.sample_model import write_sample_model

    unprepared, embedder, model = (folder / name for name in ("unprepared", "embedder", "model"))
    for directory in (unprepared, embedder, model):
        directory.mkdir()
    write_sample_model(unprepared, pooling="mean")
    resize(unprepared, 12, 384, 12)
    prepare_model(unprepared, embedder, pooling="mean", normalize=True, query_instruction="", passage_instruction="")
    write_with_new_head(embedder, model, seed=0)
    found = texts(folder)
    json_files.write_json_lines(folder / "rows.jsonl", rows(found, BATCH * steps))
    asked = [question(found, number) for number in range(-(-pairs // DOCUMENTS))]
    scored = [(query, text) for number, query in enumerate(asked) for text in documents(found, number, DOCUMENTS)]
    json_files.write_json(folder / "pairs.json", scored[:pairs])


def texts(folder: Path) -> list[tuple[str, str]]:
    """Questions, each with its document."""
    from benchmarks.encoding import generated_documents
    from embedtune.core import json_files

    if REAL.exists():
        return [(row["query"], row["positive_passages"][0]["text"]) for row in json_files.read_json_lines(REAL)]
    return [(text[:15], text) for text in generated_documents(folder)]


def question(found: list[tuple[str, str]], number: int) -> str:
    """Two of the questions, one after the other: some 20 to 60 tokens."""
    return "".join(found[(7 * number + more) % len(found)][0] for more in (0, 1))


def documents(found: list[tuple[str, str]], number: int, count: int) -> list[str]:
    """A question's own document and those of others, whose lengths spread evenly: every batch has the same ones."""
    lengths = np.roll(np.linspace(*CHARACTERS, count).astype(int), number)
    return [found[7 * (number + other) % len(found)][1][:length] for other, length in enumerate(lengths.tolist())]


def rows(found: list[tuple[str, str]], count: int) -> list[dict[str, Any]]:
    """Mined rows as embedtune's training and FlagEmbedding's read them: a relevant document and GROUP - 1 others."""
    made = []
    for number in range(count):
        own, *others = documents(found, number, GROUP)
        first = GROUP * number
        made.append(
            {
                "query_id": f"q{number}",
                "query": question(found, number),
                "pos": [own],
                "neg": others,
                "pos_passages": [first],
                "neg_passages": list(range(first + 1, first + GROUP)),
            }
        )
    return made


def training_set(folder: Path) -> Any:
    """The rows' pairs, as the stage train_reranker makes them."""
    import torch

    from embedtune.mining.mined_rows import read_mined, read_texts_of_rows
    from embedtune.models.cross_encoder import load_cross_encoder
    from embedtune.training.pair_data import PairSet, judged_queries

    mined = folder / "rows.jsonl"
    return PairSet(
        judged_queries(read_mined(mined)),
        read_texts_of_rows(mined),
        load_cross_encoder(folder / "model", torch.device("cpu")),
        group_size=GROUP,
        max_len=MAX_LEN,
        seed=0,
        compared=True,
    )


def embedtune_steps(folder: Path, precision: str) -> list[float]:
    """Embedtune's training, as its stage runs it: batches are collated between the steps."""
    import torch

    from embedtune.compute.memory import keep_freed_memory
    from embedtune.training.fine_tune import fine_tune
    from embedtune.training.objectives.ranking import Ranking
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
            Ranking("listwise"),
            run=Path(scratch) / "run",
            tensorboard=Path(scratch) / "tensorboard",
            adapter=Adapter(attention_dropout=0.0),
            batching=Batching(per_device_train_batch_size=BATCH, seed=0),
            optimizer=Optimizer(precision=precision),
        )
    return [after - before for before, after in pairwise(ends)]


def floor_steps(folder: Path, precision: str) -> list[float]:
    """The model, kernels, loss and optimiser of embedtune on ready tensors, in its batches and chunks."""
    import torch
    from transformers import get_scheduler

    from embedtune.compute.device import DTYPES, mixed_precision
    from embedtune.compute.memory import keep_freed_memory
    from embedtune.models.adapters import load_for_training
    from embedtune.models.encode import pad_token_id
    from embedtune.training.batches import BatchSampler
    from embedtune.training.fine_tune import schedule_of
    from embedtune.training.grad_cache import _part, _split
    from embedtune.training.loading import batches
    from embedtune.training.objectives.ranking import Ranking
    from embedtune.training.options import Batching
    from embedtune.training.step_memory import CHUNK_TOKENS

    cpu, model, data = torch.device("cpu"), folder / "model", training_set(folder)
    keep_freed_memory(cpu)
    adapter = {"lora_r": 1, "lora_alpha": 1, "lora_dropout": 0.0, "lora_target_modules": None, "qlora_bits": 4}
    backbone = load_for_training(
        model, "full", attention_dropout=0.0, **adapter, compute_dtype=DTYPES[precision], device=cpu
    )
    objective = Ranking("listwise")
    scorer = objective.embedder(backbone, None)
    plan = schedule_of(len(data), Batching(per_device_train_batch_size=BATCH)).plan
    steps = []
    for batch in batches(data, BatchSampler(plan, epochs=1, seed=0, rank=0, first=0), pad_token_id(model), 1, 0):
        parts = _split(batch["pairs"]["attention_mask"], CHUNK_TOKENS["cpu"])
        steps.append((batch, torch.cat(parts).argsort(), [_part(batch["pairs"], part) for part in parts]))
    optimizer = torch.optim.AdamW(scorer.parameters(), lr=2e-5, weight_decay=0.0, fused=True)
    scheduler = get_scheduler("linear", optimizer, 1, len(steps))
    ends = []
    for batch, places, chunks in steps:
        with mixed_precision(cpu, DTYPES[precision]):
            logits = torch.cat([scorer.encode(chunk) for chunk in chunks])[places]
        terms = objective.loss(scorer, {"pairs": logits}, batch)
        (terms.total / terms.weight).backward()
        torch.nn.utils.clip_grad_norm_(scorer.parameters(), 1.0)
        optimizer.step()
        scheduler.step()
        optimizer.zero_grad()
        ends.append(time.perf_counter())
    return [after - before for before, after in pairwise(ends)]


def training_steps(contender: str, options: list[str], folder: Path) -> list[float]:
    """Seconds of each step but the first."""
    if contender == "embedtune":
        return embedtune_steps(folder, options[0])
    if contender == "floor":
        return floor_steps(folder, options[0])
    bf16, documented = options[0] == "bf16", options[0] == DOCUMENTED
    if contender == "FlagEmbedding":
        return flag_embedding_reranker(folder, bf16=bf16, attention_dropout=documented)
    mini_batch = None if documented else int(options[1])
    return sentence_transformers_reranker(folder, bf16=bf16, attention_dropout=documented, mini_batch=mini_batch)


def scoring(contender: str, options: list[str], folder: Path) -> Callable[[list[tuple[str, str]]], Any]:
    """What scores pairs of texts."""
    import torch

    model = str(folder / "model")
    precision = "fp32" if options[0] == DOCUMENTED else options[0]
    batch_size = {"batch_size": int(options[1])} if len(options) > 1 else {}
    if contender == "sentence_transformers":
        from sentence_transformers import CrossEncoder

        kwargs = {"dtype": torch.bfloat16} if precision == "bf16" else {}
        peer = CrossEncoder(model, device="cpu", max_length=MAX_LEN, model_kwargs=kwargs)
        return lambda pairs: peer.predict(pairs, **batch_size)
    if contender == "FlagEmbedding":
        from FlagEmbedding import FlagReranker

        flag = FlagReranker(model, devices="cpu", max_length=MAX_LEN, **batch_size)
        return lambda pairs: flag.compute_score(pairs)
    from embedtune.compute.device import DTYPES
    from embedtune.compute.memory import keep_freed_memory
    from embedtune.models.cross_encoder import load_cross_encoder

    keep_freed_memory(torch.device("cpu"))
    own = load_cross_encoder(folder / "model", torch.device("cpu"), DTYPES[precision])

    def score(pairs: list[tuple[str, str]]) -> Any:
        """Each text is tokenised once, as `rerank` does."""
        sides = [{text: place for place, text in enumerate(dict.fromkeys(side))} for side in zip(*pairs, strict=True)]
        tokens = [own.tokenize(list(side)) for side in sides]
        numbers = [(sides[0][query], sides[1][document]) for query, document in pairs]
        return own.scores(numbers, *tokens, max_len=MAX_LEN, batch_tokens=BATCH_TOKENS)

    return score


def contend(part: str, contender: str, options: list[str], folder: Path) -> None:
    """Run one contender and print its seconds, and the peak memory of its process."""
    from embedtune.compute.memory import peak_ram_bytes
    from embedtune.core import json_files

    if part == "scoring":
        pairs = [(query, document) for query, document in json_files.read_json(folder / "pairs.json")]
        score = scoring(contender, options, folder)
        score(pairs[:WARM_UP_PAIRS])
        timed(lambda: score(pairs))
        return
    seconds = statistics.median(training_steps(contender, options, folder))
    of_children = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024  # FlagEmbedding trains in one
    print(json.dumps({"seconds": seconds, "peak_bytes": max(peak_ram_bytes(), of_children)}), flush=True)


def compared(runs: Runs, precision: str) -> dict[str, Any]:
    """How many times as fast embedtune is as each peer and, in training, as its floor; which of a peer was fastest."""
    seconds = {name: found["seconds"] for name, found in medians(runs).items()}
    ours = f"embedtune {precision}"
    times, fastest = {}, {}
    if f"floor {precision}" in runs:
        times["floor"] = time_over(runs, f"floor {precision}", ours)
        times["floor_both_fp32"] = time_over(runs, "floor fp32", "embedtune fp32")
    for peer in PEERS:
        documented = f"{peer} {DOCUMENTED}"
        fastest[peer] = min((name for name in runs if name.startswith(peer)), key=seconds.__getitem__)
        times[peer] = time_over(runs, documented, ours)
        times[f"{peer}_both_fp32"] = time_over(runs, documented, "embedtune fp32")
        times[f"{peer}_best"] = time_over(runs, fastest[peer], ours)
    aims = {name: FLOOR_AIM if name.startswith("floor") else 1.0 for name in times}
    return {
        "at_its_best": fastest,
        "times_as_fast_as": times,
        "aims": aims,
        "below_aim": [name for name, aim in aims.items() if times[name] < aim],
    }


def main() -> None:
    if len(sys.argv) > 3:
        part, contender, *options, folder = sys.argv[1:]
        contend(part, contender, options, Path(folder))
        return
    import torch

    from embedtune.compute.device import training_precision

    small = "--small" in sys.argv
    parts = [part for part in sys.argv[1:] if part != "--small"] or ["training", "scoring"]
    rounds, steps, pairs = (SMALL_ROUNDS, SMALL_STEPS, SMALL_PAIRS) if small else (ROUNDS, STEPS, PAIRS)
    precision = training_precision("auto", torch.device("cpu"))
    result: dict[str, Any] = read_result("rerankers") if (RESULTS / "rerankers.json").exists() else {}
    result = {key: value for key, value in result.items() if key not in ("hardware", "packages")}
    result |= {"real_documents": REAL.exists(), "precision": precision, "batch": BATCH, "group": GROUP}
    with tempfile.TemporaryDirectory() as scratch:
        write_data(Path(scratch), WARM_UP + steps, pairs)
        for part in parts:
            names = [f"{part} {name}" for name in contenders(part, precision)]
            found = in_turn("benchmarks.rerankers", names, [scratch], rounds)
            runs = {name.removeprefix(f"{part} "): figures for name, figures in found.items()}
            result[part] = {
                "rounds": rounds,
                **({"steps": steps} if part == "training" else {"pairs": pairs}),
                "median": {name: _figures(figures, part, pairs) for name, figures in medians(runs).items()},
                **compared(runs, precision),
            }
            if small:
                print(json.dumps(result[part], indent=2))
            else:
                write_result("rerankers", result)


def _figures(median: dict[str, float], part: str, pairs: int) -> dict[str, float]:
    speed = {"pairs_per_second": round(pairs / median["seconds"], 1)} if part == "scoring" else {}
    return {"seconds": round(median["seconds"], 3), **speed, "peak_gb": round(median["peak_bytes"] / 1e9, 2)}


if __name__ == "__main__":
    main()
