"""Hours that each stage takes at MLDR-zh's size: measured where a CPU does it, worked out where a model runs."""

from __future__ import annotations

from typing import Any

from benchmarks.harness import read_result
from tools.markdown import table

DOCUMENTS = "200,000"
TOKENS = 512  # of a passage
LAYERS, WIDTH = 12, 768  # bge-base
QUESTIONS, GROUP, EPOCHS = 10_000, 8, 3  # MLDR-zh's training questions, profiles/mldr-zh-long.yaml
ENCODE_SHARE, TRAIN_SHARE = 0.6, 0.4  # of the matrix rate; assumed, unmeasured
GPU = 312e12  # NVIDIA's figure for an A100, dense bf16, floating-point operations a second
FORWARD_OF_A_STEP = 4  # forward, backward (two forwards' worth), and forward again for gradient_checkpointing
ON_A_CPU = {
    "convert": "`convert`",
    "segment": "`segment`",
    "mine": "`mine@finetuned` (1,000 questions)",
    "index": "`index_base`, `index@finetuned`, each (`Flat`: nothing to build)",
    "slices": "`slices`",
    "lexical": "`lexical`",
    "evaluate": "`evaluate_base`, `evaluate@finetuned`, each",
}
SEARCHING = ("mine", "evaluate")  # on the GPU, where there is one


def forward_flops(tokens: float) -> float:
    """Of `tokens` tokens in passages of TOKENS: 2 for each of a layer's 12 d² weights, 4 d T for its attention."""
    return tokens * LAYERS * (24 * WIDTH**2 + 4 * WIDTH * TOKENS)


def hours_table(chinese: bool) -> str:
    """One row a stage, in minutes or hours; `chinese` changes nothing."""
    scale = read_result("scale")
    measured: dict[str, Any] = scale["documents"][DOCUMENTS]
    rate = scale["matrix_flops_per_second"]
    encode = forward_flops(measured["passages"] * TOKENS) / ENCODE_SHARE
    train = forward_flops(QUESTIONS * GROUP * EPOCHS * TOKENS) * FORWARD_OF_A_STEP / TRAIN_SHARE
    grown = scale["time_over_linear_growth"]
    rows = [
        [
            title,
            time(measured[stage]["seconds"]),
            "less: it searches there" if stage in SEARCHING else "the same",
            f"{measured[stage]['peak_bytes'] / 2**30:.1f}",
            f"{grown[stage]:.2f}" if stage in grown else "",
        ]
        for stage, title in ON_A_CPU.items()
    ]
    rows.append(["`encode_base`, `encode@finetuned`, each", time(encode / rate), time(encode / GPU), "", ""])
    rows.append(["`train@finetuned`", time(train / rate), time(train / GPU), "", ""])
    return table(["stage", "2 CPU cores", "one GPU (A100)", "memory, GiB", "time over that of a tenth, times 10"], rows)


def time(seconds: float) -> str:
    """Seconds, minutes or hours, to two digits or so."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.0f} h"
