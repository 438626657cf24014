"""Embed texts with the released model: one vector a text, float16, in an .npy file.

embedtune encode texts.txt                       one text a line, embedded as passages
embedtune encode questions.jsonl --queries       rows with a key `text`; with the model's query instruction
embedtune encode texts.txt --model models/base --output vectors.npy
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from embedtune.config import paths
from embedtune.core import cli, files, json_files
from embedtune.core.errors import EmbedTuneError


def read_texts(path: Path, key: str) -> list[str]:
    """The texts of a file: `key` of each row of a .jsonl file, otherwise the lines. Raises EmbedTuneError naming a row.

    Raises it also for a text that is empty, and for a file without texts.
    """
    texts: list[str] = []
    if path.suffix == ".jsonl":
        for number, row in enumerate(json_files.read_json_lines(path), start=1):
            text = row.get(key) if isinstance(row, dict) else None
            if not isinstance(text, str) or not text.strip():
                raise EmbedTuneError(f"{path}: row {number}: expected a text in `{key}` (--key), got {text!r}")
            texts.append(text)
    else:
        for number, line in json_files.read_lines(path):
            if number != len(texts) + 1:
                raise EmbedTuneError(f"{path}:{len(texts) + 1}: is empty; every line is to be a text")
            try:
                texts.append(line.decode().rstrip("\r\n"))
            except UnicodeDecodeError as error:
                raise EmbedTuneError(f"{path}:{number}: not UTF-8 text; save the file as UTF-8") from error
    if not texts:
        raise EmbedTuneError(f"{path}: holds no text")
    return texts


def main(arguments: list[str]) -> None:
    """Write the vectors, and say how many texts were cut."""
    parser = argparse.ArgumentParser(prog="embedtune encode", description="Embed texts with the released model.")
    parser.add_argument("file", type=Path, help="one text a line, or .jsonl rows")
    parser.add_argument("--queries", action="store_true", help="embed them as queries; by default as passages")
    parser.add_argument("--key", default="text", help="the key of the text in a .jsonl row (text)")
    parser.add_argument("--max-len", type=int, metavar="N", help="tokens of a text; by default what the model reads")
    parser.add_argument("--model", type=Path, default=paths.RELEASE, help=f"another model than {paths.RELEASE}")
    parser.add_argument("--output", type=Path, help="by default the file's name with .npy")
    given = parser.parse_args(arguments)
    if not (given.model / "modules.json").exists():
        raise EmbedTuneError(f"{given.model}: holds no embedding model; run `dvc repro`, or give another --model")
    texts = read_texts(given.file, given.key)
    from embedtune.models.encoder import load_encoder  # torch takes seconds to load

    encoder = load_encoder(given.model)
    cut = encoder.longer_than(texts, given.max_len, queries=given.queries)
    embed = encoder.encode_queries if given.queries else encoder.encode_passages
    vectors = embed(texts, given.max_len)
    output = given.output or given.file.with_suffix(".npy")
    with files.atomic_file(output) as partial, partial.open("wb") as file:
        np.save(file, vectors)
    longest = given.max_len or encoder.settings.max_tokens
    cli.say(f"encode: wrote {len(texts)} vectors of {vectors.shape[1]} numbers to {output}")
    if cut:
        cli.say(f"encode: {cut} texts are longer than {longest} tokens and were cut (--max-len)")
