"""What benchmarks/training.py trains on: models of several sizes, ten real rows repeated, in both tools' files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

REAL = Path(__file__).parents[2] / "shared" / "data" / "mldr-zh-10" / "mldr-v1.0-zh" / "train.jsonl.gz"
BATCH = 16
GROUP = 8
MAX_LEN = 256
STEPS = {"sample": 12, "small": 4, "base": 22}


def write_data(folder: Path) -> None:
    """Models, segmented documents, mined rows and FlagEmbedding's training file."""
    from benchmarks.encoding import SIZES, resize, segment
    from embedtune.core import json_files
    from embedtune.models.base_model import prepare_model
    from embedtune.models.sample_model import write_sample_model

    rows = real_rows() or generated_rows(folder)
    options = {"pooling": "cls", "normalize": True, "query_instruction": "", "passage_instruction": ""}
    for name in ("sample", *SIZES):
        unprepared, model = folder / f"{name}-unprepared", folder / name
        unprepared.mkdir()
        model.mkdir()
        write_sample_model(unprepared, pooling="cls")
        if name in SIZES:
            resize(unprepared, *SIZES[name])
        prepare_model(unprepared, model, **options)
    texts = [text for row in rows for text in (row["pos"], row["neg"])]
    segment(folder, folder / "sample", texts, folder / "passages", max_passages=1, max_tokens=MAX_LEN)
    json_files.write_json_lines(
        folder / "mined.jsonl",
        (
            {
                "query_id": f"q{i}",
                "query": row["query"],
                "pos_passages": [2 * i],
                "neg_passages": [2 * i + 1] * (GROUP - 1),
            }
            for i, row in enumerate(rows)
        ),
    )
    steps = max(STEPS.values())
    repeated = [rows[i % len(rows)] for i in range(BATCH * steps)]
    json_files.write_json_lines(
        folder / "flag.jsonl",
        ({"query": row["query"], "pos": [row["pos"]], "neg": [row["neg"]] * (GROUP - 1)} for row in repeated),
    )


def real_rows() -> list[dict[str, str]]:
    from embedtune.core import json_files

    if not REAL.exists():
        return []
    return [
        {
            "query": row["query"],
            "pos": row["positive_passages"][0]["text"],
            "neg": row["negative_passages"][0]["text"],
        }
        for row in json_files.read_json_lines(REAL)
    ]


def generated_rows(folder: Path) -> list[dict[str, str]]:
    from benchmarks.encoding import generated_documents

    texts = generated_documents(folder)
    return [{"query": text[:30], "pos": text, "neg": texts[i - 1]} for i, text in enumerate(texts)]


def training_set(folder: Path, name: str, batch: int, steps: int, group: int = GROUP, max_len: int = MAX_LEN) -> Any:
    from embedtune.data.passages import open_passages
    from embedtune.mining.mined_rows import read_mined
    from embedtune.models.tokenization import frame, load_tokenizer, tokenize_queries
    from embedtune.training.training_data import TrainingSet

    tokenizer = load_tokenizer(folder / name)
    mined = read_mined(folder / "mined.jsonl")
    rows = [mined[i % len(mined)] for i in range(batch * steps)]
    return TrainingSet(
        rows,
        tokenize_queries(tokenizer, [row.query for row in rows], "", max_len),
        open_passages(folder / "passages"),
        frame(tokenizer),
        group_size=group,
        passage_max_len=max_len,
        distillation=False,
        seed=0,
    )
