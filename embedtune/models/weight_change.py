"""How far training moved a model's weights."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import torch
from safetensors import safe_open


def relative_change(before: Path, after: Path) -> float:
    """The L2 norm of the difference of two models' weights over that of the first: 0 for equal weights.

    Both are model directories with the same tensors in safetensors files. One tensor of each is in memory at a time.
    """
    changed = whole = 0.0
    with ExitStack() as stack:
        files = [stack.enter_context(safe_open(path, "pt")) for path in sorted(after.glob("*.safetensors"))]
        tuned = {name: file for file in files for name in file.keys()}  # noqa: SIM118 (it is no mapping)
        for name, tensor in _tensors(before):
            if name in tuned:
                changed += float((tuned[name].get_tensor(name).double() - tensor.double()).square().sum())
                whole += float(tensor.double().square().sum())
    return float((changed / whole) ** 0.5) if whole else 0.0


def _tensors(directory: Path) -> Iterator[tuple[str, torch.Tensor]]:
    for path in sorted(directory.glob("*.safetensors")):
        with safe_open(path, "pt") as file:
            for name in file.keys():  # noqa: SIM118
                yield name, file.get_tensor(name)
