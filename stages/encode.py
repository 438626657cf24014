"""encode: embed every passage and every query with one model, on all GPUs (`python -m stages.encode base`)."""

from embedtune.compute import distributed
from embedtune.compute.chosen_once import chosen_once
from embedtune.compute.device import DTYPES, encoding_precision, pick_device
from embedtune.config import paths
from embedtune.config.reading import value_text
from embedtune.config.schema import Params
from embedtune.core import cli
from embedtune.core.run_folder import describe_run, description_file, run_name, write_description
from embedtune.data.corpus import SPLITS, read_query_texts
from embedtune.data.passages import open_passages
from embedtune.models.encode_collection import encode_collection
from stages.running import code_of, name_given, run, stage_params


def main() -> None:
    """Write data/embeddings/<name>."""
    params = stage_params()
    name = name_given()
    processes = distributed.processes_per_node("auto")
    if not distributed.is_launched() and processes > 1:
        distributed.launch("stages.encode", [name], processes)
        return
    with distributed.process_group():
        encode(params, name)


def encode(params: Params, name: str) -> None:
    """Encode this process's part of the texts; an interrupted run goes on from what it last noted."""
    device = pick_device(params.compute.device)
    inputs = [paths.model(name), paths.PASSAGES, paths.QUERIES, *code_of("encode")]
    parameters = {"encode": value_text(params, "encode")}
    description = distributed.broadcast_from_main(
        describe_run(name, parameters, device.type, inputs) if distributed.is_main() else ""
    )
    scratch = paths.CHECKPOINTS / f"encode-{name}-{run_name(description)}"
    if distributed.is_main():
        write_description(scratch, description)
    precision = chosen_once(scratch, "precision", lambda: encoding_precision(params.encode.precision, device))
    passages = open_passages(paths.PASSAGES)
    encode_collection(
        paths.model(name),
        passages,
        {split: read_query_texts(paths.QUERIES, split) for split in SPLITS},
        paths.embeddings(name),
        scratch=scratch,
        device=device,
        dtype=DTYPES[precision],
        batch_tokens=params.encode.batch_tokens,
        query_max_len=params.encode.query_max_len,
    )
    if distributed.is_main():
        description_file(scratch).unlink(missing_ok=True)
    cli.say_once(
        f"encode: wrote {len(passages)} passages and the queries of {', '.join(SPLITS)} to {paths.embeddings(name)} "
        f"({distributed.world_size()} x {device.type} in {precision})"
    )


if __name__ == "__main__":
    run(main, "encode", "segment", "model", "compute")
