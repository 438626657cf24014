"""train: fine-tune the base model on the mined rows."""

import shutil
import time
from pathlib import Path

import torch

from embedtune import cli, files
from embedtune.config import load_params
from embedtune.device import pick_device, training_precision
from embedtune.model import check_length, read_settings, save_model
from embedtune.passages import open_passages
from embedtune.tokenization import frame, load_tokenizer, tokenize_queries
from embedtune.train import train
from embedtune.training_data import TrainingSet, read_mined
from embedtune.training_records import cost, loss_curve, run_name, summary


def main() -> None:
    """Write models/finetuned, metrics/training.json and metrics/plots/training.csv."""
    params = load_params()
    base, mined_path = Path("models/base"), Path("data/mined/train.jsonl")
    settings = read_settings(base)
    check_length("train.query_max_len", params.train.query_max_len, settings)
    check_length("train.passage_max_len", params.train.passage_max_len, settings)
    tokenizer = load_tokenizer(base)
    rows = read_mined(mined_path)
    texts = [row.query for row in rows]
    passages = open_passages(Path("data/passages"))
    training_set = TrainingSet(
        rows,
        tokenize_queries(tokenizer, texts, settings.query_instruction, params.train.query_max_len),
        passages,
        frame(tokenizer, settings.passage_instruction),
        group_size=params.train.train_group_size,
        passage_max_len=params.train.passage_max_len,
        seed=params.train.seed,
    )
    options = params.train.model_dump(
        exclude={"train_group_size", "query_max_len", "passage_max_len", "precision", "save_strategy"}
    )
    device = pick_device()
    precision = training_precision(params.train.precision, device)
    run = run_name(params.train.model_dump_json(), mined_path, *sorted(p for p in base.rglob("*.*") if p.is_file()))
    checkpoints, tensorboard = Path("checkpoints") / run, Path("logs/tensorboard") / run

    def save_epoch(backbone: torch.nn.Module, epoch: int) -> None:
        with files.whole_directory(checkpoints / f"epoch-{epoch}") as target:
            save_model(backbone, base, target)

    if passages.max_tokens > params.train.passage_max_len:
        cli.say(f"train: passages of up to {passages.max_tokens} tokens are cut to {params.train.passage_max_len}")
    keep_epochs = params.train.save_strategy == "epoch"
    cli.say(f"train: {len(rows)} questions on {device} in {precision}; TensorBoard: {tensorboard}")
    shutil.rmtree(tensorboard, ignore_errors=True)  # of an earlier run of the very same training
    started = time.time()
    with files.whole_directory(Path("models/finetuned")) as target:
        backbone, log = train(
            base,
            settings,
            training_set,
            **options,
            precision=precision,
            tensorboard=tensorboard,
            scratch=Path("logs/trainer"),
            save_epoch=save_epoch if keep_epochs else None,
        )
        save_model(backbone, base, target)
    seconds = time.time() - started
    curve = loss_curve(log)
    with files.whole_file(Path("metrics/plots/training.csv")) as partial:
        curve.to_csv(partial, index=False)
    record = summary(curve, len(rows), backbone)
    files.write_json(Path("metrics/training.json"), record)
    trained = record["steps"] * params.train.per_device_train_batch_size * params.train.gradient_accumulation_steps
    files.write_json(Path("logs/training.json"), cost(seconds, trained, device, precision))
    where = f"; a model after each epoch in {checkpoints}" if keep_epochs else ""
    cli.say(f"train: wrote models/finetuned after {record['steps']} steps in {seconds:.0f} s{where}")
    shutil.rmtree("logs/trainer", ignore_errors=True)


if __name__ == "__main__":
    cli.run(main)
