"""segment: tokenise each document once and split it into passages."""

from embedtune.config import paths
from embedtune.config.reading import load_params
from embedtune.core import cli, files
from embedtune.data.segment import write_passages
from embedtune.models.settings import check_length, read_settings
from embedtune.models.tokenization import frame, load_tokenizer
from stages.running import run


def main() -> None:
    """Write data/passages."""
    params = load_params()
    base = paths.BASE
    settings = read_settings(base)
    check_length("segment.max_tokens", params.segment.max_tokens, settings)
    tokenizer = load_tokenizer(base)
    with files.atomic_directory(paths.PASSAGES) as target:
        counts = write_passages(
            paths.CORPUS,
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
    run(main, "segment", "model")
