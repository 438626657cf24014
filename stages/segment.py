"""segment: tokenise each document once and split it into passages."""

from typing import Any

from embedtune.config import paths
from embedtune.core import cli, files
from embedtune.data.segment import write_passages
from embedtune.models.settings import check_length, read_settings
from embedtune.models.tokenization import frame, load_tokenizer
from stages.running import run, stage_params

WORTH_SAYING = 0.05  # a share of the room


def main() -> None:
    """Write data/passages."""
    params = stage_params()
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
            instruction=settings.passage_instruction,
        )
    cli.say(
        f"segment: wrote {counts['passages']} passages ({counts['tokens']} tokens) of {counts['documents']} documents "
        "to data/passages"
    )
    say_losses(counts)
    if params.segment.title_tokens and not counts["documents_with_title"]:
        cli.say("segment: no document has a title to carry along (segment.title_tokens)")
    if counts["documents_without_tokens"]:
        cli.say(f"segment: {counts['documents_without_tokens']} documents have no tokens; each is one empty passage")


def say_losses(counts: dict[str, Any]) -> None:
    """Say what of the documents stands in no passage, and how much of their room passages leave empty."""
    if counts["documents_left_out_in_part"]:
        share = counts["characters_left_out"] / counts["characters"]
        cli.say(
            f"segment: {counts['documents_left_out_in_part']} documents go on after their last passage "
            f"(segment.max_passages); {share:.0%} of all characters are in no passage"
        )
    if counts["room_unused"] > WORTH_SAYING * counts["room"]:
        cli.say(
            f"segment: passages that end before their document leave {counts['room_unused'] / counts['room']:.0%} of "
            "their tokens unused, to end with a word or a sentence (segment.boundaries)"
        )
    if counts["passages_joined_to_instruction"]:
        cli.say(
            f"segment: {counts['passages_joined_to_instruction']} passages would share a token with "
            "model.passage_instruction and are tokenised apart from it; an instruction that ends in a space would not "
            "do that, where the model was trained with one"
        )
    if counts["tokens_dropped"]:
        cli.say(f"segment: {counts['tokens_dropped']} tokens were too many for their passages, and are dropped")


if __name__ == "__main__":
    run(main, "segment", "model")
