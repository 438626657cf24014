"""Encoding on this machine: against a bare forward pass, FlagEmbedding's FlagModel and sentence-transformers.

    python -m benchmarks.encoding              five interleaved rounds, writes results/encoding.json

Texts are the ten real MLDR documents of ../shared/data/mldr-zh-10 (generated ones where that is absent): their
passages of 512 tokens with the sample's model (2 layers of 128), their heads with a model of bge-small's size (4 layers
of 512, random), in fp32 as the peers have it (benchmarks/real_model.py has bf16). `bare_forward` gets the same token
ids, sorted by length, in ready batches of the same size, and calls the model; `encode` is what embedtune does from
token ids to vectors on disk; `text_to_vectors` begins at the texts, as the peers do. On a GPU all of them run there in
fp16, on the documents forty times over, with a third model of bge-base's size (12 layers of 768), and `encode`'s share
of the measured rate of bf16 matrix products is told.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.harness import in_turn, medians, time_over, timed, write_result

REAL = Path(__file__).parents[2] / "shared" / "data" / "mldr-zh-10" / "mldr-v1.0-zh" / "train.jsonl.gz"
ON_GPU = torch.cuda.is_available()
MAX_TOKENS, BATCH_TOKENS, ROUNDS, REPEATS = 512, 131_072 if ON_GPU else 2048, 5, 5
COPIES = 40 if ON_GPU else 1
WORKLOADS = {"passages, 2 layers of 128": "sample", "heads, 4 layers of 512": "small"}
if ON_GPU:
    WORKLOADS["passages, 12 layers of 768"] = "base"
SIZES = {"small": (4, 512, 8), "base": (12, 768, 12)}  # layers, width, heads


def write_data(folder: Path) -> None:
    """Both models and both sets of texts."""
    from embedtune.core import json_files
    from embedtune.data.passages import open_passages, read_texts
    from embedtune.models.base_model import prepare_model
    from embedtune.models.sample_model import write_sample_model

    documents = (real_documents(folder) or generated_documents(folder)) * COPIES
    options = {"pooling": "cls", "normalize": True, "query_instruction": "", "passage_instruction": ""}
    for name in WORKLOADS.values():
        unprepared, model = folder / f"{name}-unprepared", folder / name
        unprepared.mkdir()
        model.mkdir()
        write_sample_model(unprepared, pooling="cls")
        if name in SIZES:
            resize(unprepared, *SIZES[name])
        prepare_model(unprepared, model, **options)
    segment(folder, folder / "sample", documents, folder / "whole", max_passages=None)
    passages = open_passages(folder / "whole")
    texts = read_texts(folder / "whole.jsonl", passages, np.arange(len(passages)))
    for title, name in WORKLOADS.items():
        json_files.write_json(folder / f"{name}.json", documents if title.startswith("heads") else texts)


def real_documents(folder: Path) -> list[str]:
    from embedtune.core import json_files

    return [row["positive_passages"][0]["text"] for row in json_files.read_json_lines(REAL)] if REAL.exists() else []


def generated_documents(folder: Path) -> list[str]:
    from embedtune.core import json_files
    from embedtune.data.sample.corpus import write_sample

    (folder / "generated").mkdir()
    write_sample(folder / "generated", 60, {"train": 1}, seed=0)
    rows = list(json_files.read_json_lines(folder / "generated" / "mldr-v1.0-zh" / "corpus.jsonl.gz"))
    return ["\n".join(row["text"] for row in rows[i : i + 6]) for i in range(0, 60, 6)]


def resize(target: Path, layers: int, width: int, heads: int) -> None:
    """Replace the sample's weights by random ones of another size."""
    from transformers import BertConfig, BertModel

    torch.manual_seed(0)
    config = BertConfig.from_pretrained(target)
    config.update(
        {
            "hidden_size": width,
            "num_hidden_layers": layers,
            "num_attention_heads": heads,
            "intermediate_size": 4 * width,
        }
    )
    BertModel(config, add_pooling_layer=False).save_pretrained(target)


def segment(
    folder: Path, model: Path, texts: list[str], target: Path, max_passages: int | None, max_tokens: int = MAX_TOKENS
) -> None:
    from embedtune.core import files, json_files
    from embedtune.data.segment import write_passages
    from embedtune.models.tokenization import frame, load_tokenizer

    corpus = target.with_suffix(".jsonl")
    json_files.write_json_lines(corpus, ({"_id": f"d{i}", "text": text} for i, text in enumerate(texts)))
    tokenizer = load_tokenizer(model)
    with files.atomic_directory(target) as partial:
        write_passages(
            corpus,
            tokenizer,
            partial,
            max_tokens=max_tokens,
            frame_tokens=frame(tokenizer).length,
            overlap_tokens=0,
            max_passages=max_passages,
        )


def setup(folder: Path, name: str) -> tuple[list[str], Callable[[], Any], Callable[[], Any]]:
    """(texts, encode from passages on disk, bare forward over the same)."""
    from embedtune.compute.device import pick_device
    from embedtune.core import json_files
    from embedtune.data.passages import open_passages
    from embedtune.models import vector_store
    from embedtune.models.encode import encode, load_backbone
    from embedtune.models.padding import batch_size, longest_first, pad
    from embedtune.models.tokenization import frame, load_tokenizer

    texts = json_files.read_json(folder / f"{name}.json")
    directory = folder / name
    device = pick_device()
    model = load_backbone(directory, torch.float16 if ON_GPU else torch.float32, device)
    around = frame(load_tokenizer(directory))
    store = folder / f"{name}-passages"
    segment(folder, directory, texts, store, max_passages=1)

    def encode_all() -> None:
        passages = open_passages(store)
        out = vector_store.create_array(folder / f"{name}.npy", len(passages), model.config.hidden_size)
        encode(
            model,
            lambda i: around.around(passages.tokens(i), MAX_TOKENS),
            passages.lengths() + around.length,
            out,
            pooling="cls",
            normalized=True,
            pad_id=0,
            batch_tokens=BATCH_TOKENS,
        )

    passages = open_passages(store)
    lengths = passages.lengths() + around.length
    order, batches = longest_first(lengths), []
    while len(order):
        rows, order = np.split(order, [batch_size(int(lengths[order[0]]), BATCH_TOKENS)])
        sequences = [around.around(passages.tokens(i), MAX_TOKENS) for i in rows]
        batches.append([torch.from_numpy(array).to(device) for array in pad(sequences, 0)])

    @torch.inference_mode()
    def bare_forward() -> None:
        for ids, mask in batches:
            hidden = model(input_ids=ids, attention_mask=mask).last_hidden_state
        hidden[0, 0, 0].item()  # waits for the device

    return texts, encode_all, bare_forward


def contend(contender: str, folder: Path, name: str) -> None:
    """Time `REPEATS` passes of one contender over one workload, after one that is not counted."""
    if contender in ("FlagModel", "SentenceTransformer"):
        from embedtune.core import json_files

        texts = json_files.read_json(folder / f"{name}.json")
        encode = peer(contender, folder / name)
        encode(texts)
        timed(lambda: [encode(texts) for _ in range(REPEATS)])
        return
    texts, encode_all, bare_forward = setup(folder, name)
    encode_all()
    if contender == "text_to_vectors":

        def work() -> None:
            segment(folder, folder / name, texts, folder / f"{name}-passages", max_passages=1)
            encode_all()

        timed(lambda: [work() for _ in range(REPEATS)])
    else:
        chosen = {"encode": encode_all, "bare_forward": bare_forward}[contender]
        timed(lambda: [chosen() for _ in range(REPEATS)])


def peer(contender: str, model: Path) -> Callable[[list[str]], Any]:
    if contender == "FlagModel":
        from FlagEmbedding import FlagModel

        flag_model = FlagModel(
            str(model), use_fp16=ON_GPU, pooling_method="cls", devices="cuda:0" if ON_GPU else "cpu", batch_size=256
        )
        return lambda texts: flag_model.encode(texts, max_length=MAX_TOKENS)
    from sentence_transformers import SentenceTransformer

    transformer = SentenceTransformer(str(model), device="cuda" if ON_GPU else "cpu")
    if ON_GPU:
        transformer.half()
    return lambda texts: transformer.encode(texts, batch_size=128 if ON_GPU else 32)


def share_of_matrix_rate(folder: Path, name: str, seconds: float) -> float | None:
    """Of the measured bf16 rate of matrix products, what a forward pass over the texts in `seconds` comes to; None on
    a CPU."""
    if not ON_GPU:
        return None
    from embedtune.compute import hardware
    from embedtune.compute.device import pick_device
    from embedtune.data.passages import open_passages
    from embedtune.models.encode import load_backbone
    from embedtune.models.tokenization import frame, load_tokenizer
    from embedtune.training import flops

    device = pick_device()
    model = load_backbone(folder / name, torch.bfloat16, device)
    lengths = open_passages(folder / f"{name}-passages").lengths() + frame(load_tokenizer(folder / name)).length
    whole = flops.training_flops(model, model.config, int(lengths.sum()), float(lengths.mean()))
    return round(whole / 3 * REPEATS / seconds / hardware.matrix_rate(device, "bf16"), 3)  # forward is a third


def main() -> None:
    contenders = ["encode", "bare_forward", "text_to_vectors", "FlagModel", "SentenceTransformer"]
    if len(sys.argv) > 1:
        contend(sys.argv[1], Path(sys.argv[2]), sys.argv[3])
        return
    workloads: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as scratch:
        write_data(Path(scratch))
        for title, name in WORKLOADS.items():
            runs = in_turn("benchmarks.encoding", contenders, [scratch, name], ROUNDS)
            seconds = {contender: figures["seconds"] for contender, figures in medians(runs).items()}
            workloads[title] = {
                "share_of_matrix_rate": share_of_matrix_rate(Path(scratch), name, seconds["encode"]),
                "median_seconds": {contender: round(value, 4) for contender, value in seconds.items()},
                "time_over": {
                    "bare_forward": time_over(runs, "encode", "bare_forward"),
                    "FlagModel": time_over(runs, "text_to_vectors", "FlagModel"),
                    "SentenceTransformer": time_over(runs, "text_to_vectors", "SentenceTransformer"),
                },
            }
    write_result(
        "encoding", {"real_documents": REAL.exists(), "rounds": ROUNDS, "repeats": REPEATS, "workloads": workloads}
    )


if __name__ == "__main__":
    main()
