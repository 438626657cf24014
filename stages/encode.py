"""encode: embed every passage and every query with one model, on every GPU (`python -m stages.encode base`)."""

import functools
import sys
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from embedtune import cli, distributed, embeddings, files
from embedtune.config import Params, load_params
from embedtune.corpus import SPLITS
from embedtune.device import encoding_dtype, pick_device
from embedtune.encode import encode, load_encoder, pad_token_id
from embedtune.memory import keep_freed_memory
from embedtune.model import check_length, read_settings
from embedtune.passages import open_passages
from embedtune.tokenization import frame, load_tokenizer, tokenize_queries


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
    """Encode this process's share; the main one makes the arrays."""
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
        batch_tokens=params.encode.batch_tokens,
    )
    passages = open_passages(Path("data/passages"))
    around = frame(tokenizer, settings.passage_instruction)
    target = Path("data/embeddings") / name
    with distributed.whole_directory(target) as partial:

        def array(file: str, rows: int) -> NDArray[np.float16]:
            if distributed.is_main():
                embeddings.create(partial, file, rows, model.config.hidden_size)
            distributed.wait()
            return embeddings.open_vectors(partial, file, writable=True)

        encode_with_model(
            lambda i: around.around(passages.tokens(i), passages.max_tokens),
            passages.token_count + around.length,
            array(embeddings.PASSAGES, len(passages)),
            rows=distributed.share(len(passages)),
            description=f"encode passages ({name})",
        )
        for split in SPLITS:
            texts = [row["text"] for row in files.read_json_lines(Path("data/queries") / f"{split}.jsonl")]
            queries = tokenize_queries(tokenizer, texts, settings.query_instruction, params.encode.query_max_len)
            encode_with_model(
                queries.__getitem__,
                np.array([len(query) for query in queries], dtype=np.int64),
                array(embeddings.query_file(split), len(queries)),
                rows=distributed.share(len(queries)),
                description=f"encode {split} queries ({name})",
            )
    cli.say_once(
        f"encode: wrote {len(passages)} passages and the queries of {', '.join(SPLITS)} to {target} "
        f"({distributed.world_size()} x {device.type})"
    )


if __name__ == "__main__":
    cli.run(main)
