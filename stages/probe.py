"""probe: prepare the general data set on which to see what tuning forgot, if there is one."""

from pathlib import Path

from embedtune import cli, files
from embedtune.config import load_params
from embedtune.model import check_length, read_settings
from embedtune.probe_data import write_probe
from embedtune.tokenization import load_tokenizer


def main() -> None:
    """Write data/probe; a note in its place where probe.source is none."""
    params = load_params()
    base = Path("models/base")
    with files.whole_directory(Path("data/probe")) as target:
        if params.probe.source == "none":
            note = "There is no probe: probe.source is none."
            (target / "none.txt").write_text(note + "\n", encoding="utf-8")  # DVC restores no empty directory
            cli.say("probe: none is asked for (probe.source)")
            return
        settings = read_settings(base)
        check_length("probe.max_tokens", params.probe.max_tokens, settings)
        counts = write_probe(Path(params.probe.path), target, load_tokenizer(base), settings, params.probe.max_tokens)
    cli.say(f"probe: wrote {counts['questions']} questions and {counts['documents']} documents to data/probe")
    if counts["rows_skipped"]:
        cli.say(f"probe: set aside {counts['rows_skipped']} bad rows in data/probe/skipped.jsonl")


if __name__ == "__main__":
    cli.run(main)
