"""segment: tokenise each document once and cut it into passages."""

from pathlib import Path

from embedtune import cli, files
from embedtune.config import load_params
from embedtune.model import check_length, read_settings
from embedtune.segment import write_passages
from embedtune.tokenization import frame, load_tokenizer


def main() -> None:
    """Write data/passages."""
    params = load_params()
    base = Path("models/base")
    settings = read_settings(base)
    check_length("segment.max_tokens", params.segment.max_tokens, settings)
    tokenizer = load_tokenizer(base)
    with files.whole_directory(Path("data/passages")) as target:
        counts = write_passages(
            Path("data/corpus.jsonl"),
            tokenizer,
            target,
            max_tokens=params.segment.max_tokens,
            frame_tokens=frame(tokenizer, settings.passage_instruction).length,
            overlap_tokens=params.segment.overlap_tokens,
            max_passages=params.segment.max_passages,
            boundaries=params.segment.boundaries,
            title_tokens=params.segment.title_tokens,
        )
    cli.say(
        f"segment: wrote {counts['passages']} passages ({counts['tokens']} tokens) of {counts['documents']} documents "
        "to data/passages"
    )
    if params.segment.title_tokens and not counts["documents_with_title"]:
        cli.say("segment: no document has a title to carry along (segment.title_tokens)")
    if counts["documents_without_tokens"]:
        cli.say(f"segment: {counts['documents_without_tokens']} documents have no tokens; each is one empty passage")


if __name__ == "__main__":
    cli.run(main)
