"""encode: embed every passage and every query with one model, on all GPUs (`python -m stages.encode base`)."""

from embedtune.compute import distributed
from embedtune.compute.device import encoding_dtype, pick_device
from embedtune.config import paths
from embedtune.config.reading import load_params
from embedtune.config.schema import Params
from embedtune.core import cli
from embedtune.core.run_folder import run_name
from embedtune.data.corpus import SPLITS, read_query_texts
from embedtune.data.passages import open_passages
from embedtune.models.encode_collection import encode_collection
from stages.running import code_of, named, run


def main() -> None:
    """Write data/embeddings/<name>."""
    params = load_params()
    name = named()
    processes = distributed.processes_per_node("auto")
    if not distributed.is_launched() and processes > 1:
        distributed.launch("stages.encode", [name], processes)
        return
    with distributed.process_group():
        encode(params, name)


def encode(params: Params, name: str) -> None:
    """Encode this process's part of the texts; an interrupted run resumes at its last finished shard."""
    device = pick_device()
    dtype = encoding_dtype(params.encode.precision, device)
    settings = f"{params.encode.model_dump_json()} {dtype} {device.type}"
    inputs = [paths.model(name), paths.PASSAGES, paths.QUERIES, *code_of("encode")]
    scratch = distributed.broadcast_from_main(
        f"encode-{name}-{run_name(settings, inputs)}" if distributed.is_main() else ""
    )
    passages = open_passages(paths.PASSAGES)
    encode_collection(
        paths.model(name),
        passages,
        {split: read_query_texts(paths.QUERIES, split) for split in SPLITS},
        paths.embeddings(name),
        scratch=paths.CHECKPOINTS / scratch,
        device=device,
        dtype=dtype,
        batch_tokens=params.encode.batch_tokens,
        query_max_len=params.encode.query_max_len,
    )
    cli.say_once(
        f"encode: wrote {len(passages)} passages and the queries of {', '.join(SPLITS)} to {paths.embeddings(name)} "
        f"({distributed.world_size()} x {device.type})"
    )


if __name__ == "__main__":
    run(main, "encode", "segment", "model")
