"""general_data: prepare the general data set that measures what fine-tuning forgot, if there is one."""

from pathlib import Path

from embedtune.config import paths
from embedtune.core import cli, files
from embedtune.evaluation.write_general_data import write_general_data
from embedtune.models.settings import check_length, read_settings
from embedtune.models.tokenization import load_tokenizer
from stages.running import run, stage_params


def main() -> None:
    """Write data/general_data; it holds only a note if general_data.source is none."""
    params = stage_params()
    base = paths.BASE
    with files.atomic_directory(paths.GENERAL_DATA) as target:
        if params.general_data.source == "none":
            note = "There is no general data set: general_data.source is none."
            (target / "none.txt").write_text(note + "\n", encoding="utf-8")  # DVC does not restore empty directories
            cli.say("general_data: none is asked for (general_data.source)")
            return
        settings = read_settings(base)
        check_length("general_data.max_tokens", params.general_data.max_tokens, settings)
        counts = write_general_data(
            Path(params.general_data.path), target, load_tokenizer(base), settings, params.general_data.max_tokens
        )
    cli.say(
        f"general_data: wrote {counts['questions']} questions and {counts['documents']} documents to "
        f"{paths.GENERAL_DATA}"
    )
    if counts["rows_skipped"]:
        cli.say(f"general_data: set aside {counts['rows_skipped']} bad rows in {paths.GENERAL_DATA}/skipped.jsonl")


if __name__ == "__main__":
    run(main, "general_data", "model")
