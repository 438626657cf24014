"""encode: embed every passage and every query with one model (`python -m stages.encode base`)."""

import functools
import sys
from pathlib import Path

import numpy as np

from embedtune import cli, embeddings, files
from embedtune.config import load_params
from embedtune.corpus import SPLITS
from embedtune.device import encoding_dtype, pick_device
from embedtune.encode import encode, load_encoder, pad_token_id
from embedtune.model import check_length, read_settings
from embedtune.passages import open_passages
from embedtune.tokenization import frame, load_tokenizer, tokenize_queries


def main() -> None:
    """Write data/embeddings/<name>."""
    params = load_params()
    name = sys.argv[1]
    directory = Path("models") / name
    settings = read_settings(directory)
    check_length("encode.query_max_len", params.encode.query_max_len, settings)
    tokenizer = load_tokenizer(directory)
    device = pick_device()
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
    with files.whole_directory(target) as partial:
        out = embeddings.create(partial, embeddings.PASSAGES, len(passages), model.config.hidden_size)
        encode_with_model(
            lambda i: around.around(passages.tokens(i), passages.max_tokens),
            passages.token_count + around.length,
            out,
            description=f"encode passages ({name})",
        )
        for split in SPLITS:
            texts = [row["text"] for row in files.read_json_lines(Path("data/queries") / f"{split}.jsonl")]
            queries = tokenize_queries(tokenizer, texts, settings.query_instruction, params.encode.query_max_len)
            lengths = np.array([len(query) for query in queries])
            out = embeddings.create(partial, embeddings.query_file(split), len(queries), model.config.hidden_size)
            encode_with_model(queries.__getitem__, lengths, out, description=f"encode {split} queries ({name})")
    cli.say(f"encode: wrote {len(passages)} passages and the queries of {', '.join(SPLITS)} to {target} ({device})")


if __name__ == "__main__":
    cli.run(main)
