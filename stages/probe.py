"""probe: prepare the general-domain data set that measures what fine-tuning forgot, if there is one."""

from pathlib import Path

from embedtune.config import paths
from embedtune.config.reading import load_params
from embedtune.core import cli, files
from embedtune.evaluation.probe_data import write_probe
from embedtune.models.settings import check_length, read_settings
from embedtune.models.tokenization import load_tokenizer
from stages.running import run


def main() -> None:
    """Write data/probe; it holds only a note if probe.source is none."""
    params = load_params()
    base = paths.BASE
    with files.atomic_directory(paths.PROBE) as target:
        if params.probe.source == "none":
            note = "There is no probe: probe.source is none."
            (target / "none.txt").write_text(note + "\n", encoding="utf-8")  # DVC does not restore empty directories
            cli.say("probe: none is asked for (probe.source)")
            return
        settings = read_settings(base)
        check_length("probe.max_tokens", params.probe.max_tokens, settings)
        counts = write_probe(Path(params.probe.path), target, load_tokenizer(base), settings, params.probe.max_tokens)
    cli.say(f"probe: wrote {counts['questions']} questions and {counts['documents']} documents to data/probe")
    if counts["rows_skipped"]:
        cli.say(f"probe: set aside {counts['rows_skipped']} bad rows in data/probe/skipped.jsonl")


if __name__ == "__main__":
    run(main, "probe", "model")
