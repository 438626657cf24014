"""encode: embed every passage and every query with one model, on every GPU (`python -m stages.encode base`)."""

import functools
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from embedtune import cli, distributed, embeddings, files
from embedtune.checkpoints import run_name
from embedtune.config import Params, load_params
from embedtune.corpus import SPLITS
from embedtune.device import encoding_dtype, pick_device
from embedtune.encode import encode, load_encoder, pad_token_id
from embedtune.encoding_run import Fill, encoding_run, fill
from embedtune.memory import keep_freed_memory
from embedtune.model import check_length, read_settings
from embedtune.passages import open_passages
from embedtune.tokenization import frame, load_tokenizer, tokenize_queries

CODE = [Path("embedtune"), Path("stages/encode.py")]
Sequence = Callable[[int], NDArray[np.integer]]


def main() -> None:
    """Write data/embeddings/<name>."""
    params = load_params()
    name = sys.argv[1]
    processes = distributed.processes_per_node("auto")
    if not distributed.is_launched() and processes > 1:
        distributed.launch("stages.encode", [name], processes)
        return
    with distributed.process_group():
        write_embeddings(params, name)


def write_embeddings(params: Params, name: str) -> None:
    """Encode this process's share, going on from where a killed run was."""
    directory = Path("models") / name
    settings = read_settings(directory)
    check_length("encode.query_max_len", params.encode.query_max_len, settings)
    tokenizer = load_tokenizer(directory)
    device = pick_device()
    keep_freed_memory(device)
    model = load_encoder(directory, encoding_dtype(params.encode.precision, device), device)
    encode_with_model = functools.partial(
        encode,
        model,
        pooling=settings.pooling,
        normalized=settings.normalize,
        pad_id=pad_token_id(directory),
    )
    batch_tokens = params.encode.batch_tokens  # fewer from where memory runs out

    def encoding(sequence: Sequence, lengths: NDArray[np.integer], what: str) -> Fill:
        def encode_rows(out: NDArray[np.float16], rows: NDArray[np.int64], which: str) -> None:
            nonlocal batch_tokens
            description = f"encode {what}{which} ({name})"
            batch_tokens = encode_with_model(
                sequence, lengths, out, rows=rows, batch_tokens=batch_tokens, description=description
            )

        return encode_rows

    passages = open_passages(Path("data/passages"))
    around = frame(tokenizer, settings.passage_instruction)
    dimension = model.config.hidden_size
    target = Path("data/embeddings") / name
    with encoding_run(
        run_folder(name, f"{params.encode.model_dump_json()} {model.dtype} {device.type}"), target
    ) as run:
        whole = encoding(
            lambda i: around.around(passages.tokens(i), passages.max_tokens),
            passages.lengths() + around.length,
            "passages",
        )
        fill(run, embeddings.PASSAGES, len(passages), dimension, whole)
        for split in SPLITS:
            texts = [row["text"] for row in files.read_json_lines(Path("data/queries") / f"{split}.jsonl")]
            queries = tokenize_queries(tokenizer, texts, settings.query_instruction, params.encode.query_max_len)
            lengths = np.array([len(query) for query in queries], dtype=np.int64)
            whole = encoding(queries.__getitem__, lengths, f"{split} queries")
            fill(run, embeddings.query_file(split), len(queries), dimension, whole)
    cli.say_once(
        f"encode: wrote {len(passages)} passages and the queries of {', '.join(SPLITS)} to {target} "
        f"({distributed.world_size()} x {device.type})"
    )


def run_folder(name: str, setting: str) -> Path:
    """The scratch folder, named by all that the vectors depend on."""
    inputs = [Path("models") / name, Path("data/passages"), Path("data/queries"), *CODE]
    folder = Path("checkpoints") / f"encode-{name}-{run_name(setting, inputs)}" if distributed.is_main() else None
    shared = distributed.from_main(folder)
    assert shared is not None, "the main process has named it"
    return shared


if __name__ == "__main__":
    cli.run(main)
