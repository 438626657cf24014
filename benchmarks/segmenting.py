"""`convert` and `segment` against the tokenizer alone: 20,000 documents of 6,000 characters, time and peak memory.

    python -m benchmarks.segmenting            five interleaved rounds, writes results/segmenting.json

The floor is `encode_batch` with its ids read, over texts already in memory, in batches of 1,000 documents.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from benchmarks.harness import interleaved, timed, write_result

DOCUMENTS, CHARACTERS, ROUNDS = 20_000, 6_000, 5


def write_data(folder: Path) -> None:
    """A raw data set in MLDR's layout, and the sample's tokenizer."""
    from embedtune.core import json_files
    from embedtune.data.sample.corpus import write_sample
    from embedtune.models.base_model import prepare_model
    from embedtune.models.sample_model import write_sample_model

    sample, model = folder / "sample", folder / "unprepared"
    sample.mkdir()
    model.mkdir()
    write_sample(sample, 1000, {"train": 100}, seed=0)
    texts = [row["text"] for row in json_files.read_json_lines(sample / "mldr-v1.0-zh" / "corpus.jsonl.gz")]
    raw = folder / "raw"
    raw.mkdir()
    json_files.write_json_lines(
        raw / "corpus.jsonl.gz",
        (
            {"docid": f"d{i}", "text": "\n".join(texts[(i * 7 + k * 331) % 1000] for k in range(4))[:CHARACTERS]}
            for i in range(DOCUMENTS)
        ),
    )
    json_files.write_json_lines(
        raw / "train.jsonl",
        (
            {"query_id": f"q{i}", "query": "在哪里？", "positive_passages": [{"docid": f"d{i}", "text": None}]}
            for i in range(100)
        ),
    )
    write_sample_model(model)
    (folder / "base").mkdir()
    options = {"pooling": "mean", "normalize": True, "query_instruction": "", "passage_instruction": ""}
    prepare_model(model, folder / "base", **options)


def embedtune(folder: Path) -> None:
    from embedtune.core import files
    from embedtune.data.convert import CorpusWriter, convert
    from embedtune.data.layouts.opening import open_layout
    from embedtune.data.layouts.rows import BadRows
    from embedtune.data.segment import write_passages
    from embedtune.models.tokenization import frame, load_tokenizer

    tokenizer = load_tokenizer(folder / "base")

    def work() -> None:
        with files.atomic_file(folder / "corpus.jsonl") as partial, partial.open("wb") as file:
            bad_rows = BadRows(None)
            convert(open_layout(folder / "raw", "mldr", "zh", bad_rows), CorpusWriter(file), bad_rows)
        with files.atomic_directory(folder / "passages") as target:
            write_passages(
                folder / "corpus.jsonl",
                tokenizer,
                target,
                max_tokens=512,
                frame_tokens=frame(tokenizer).length,
                overlap_tokens=0,
                max_passages=None,
            )

    timed(work)


def encode_batch(folder: Path) -> None:
    from embedtune.core import json_files
    from embedtune.models.tokenization import load_tokenizer

    tokenizer = load_tokenizer(folder / "base")
    texts = [row["text"] for row in json_files.read_json_lines(folder / "raw" / "corpus.jsonl.gz")]

    def work() -> None:
        for start in range(0, len(texts), 1000):
            encodings = tokenizer.encode_batch(texts[start : start + 1000], add_special_tokens=False)
            for encoding in encodings:
                encoding.ids  # noqa: B018 - reading them is what is timed

    timed(work)


def main() -> None:
    contenders = {"embedtune": embedtune, "encode_batch": encode_batch}
    if len(sys.argv) > 1:
        contenders[sys.argv[1]](Path(sys.argv[2]))
        return
    with tempfile.TemporaryDirectory() as scratch:
        write_data(Path(scratch))
        medians = interleaved("benchmarks.segmenting", list(contenders), [scratch], ROUNDS)
    ratio = medians["embedtune"]["seconds"] / medians["encode_batch"]["seconds"]
    write_result(
        "segmenting",
        {
            "documents": DOCUMENTS,
            "characters_each": CHARACTERS,
            "rounds": ROUNDS,
            "medians": medians,
            "time_over_encode_batch": round(ratio, 3),
        },
    )


if __name__ == "__main__":
    main()
