"""Which precision `auto` is, by what the hardware has."""

from __future__ import annotations

import pytest
import torch

from embedtune.compute import device as module
from embedtune.compute.device import bf16_is_faster, bf16_is_native, encoding_precision, training_precision
from embedtune.core.errors import ParameterError

CPU, GPU = torch.device("cpu"), torch.device("cuda")


@pytest.mark.parametrize("faster", [True, False])
def test_a_cpu_takes_bf16_where_it_is_faster(monkeypatch: pytest.MonkeyPatch, faster: bool) -> None:
    monkeypatch.setattr(module, "bf16_is_faster", lambda: faster)
    expected = "bf16" if faster else "fp32"
    assert training_precision("auto", CPU) == encoding_precision("auto", CPU) == expected
    assert encoding_precision("auto", torch.device("mps")) == "fp32"
    assert encoding_precision("auto", GPU) == "fp16"


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_what_is_written_holds(monkeypatch: pytest.MonkeyPatch, precision: str) -> None:
    monkeypatch.setattr(module, "bf16_is_faster", lambda: pytest.fail("nothing to find out"))
    assert training_precision(precision, CPU) == encoding_precision(precision, CPU) == precision


def test_fp16_trains_on_gpus_alone() -> None:
    with pytest.raises(ParameterError, match="precision: fp16 needs an NVIDIA GPU"):
        training_precision("fp16", CPU)


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [({torch.float32: 2.0, torch.bfloat16: 1.0}, True), ({torch.float32: 1.2, torch.bfloat16: 1.0}, False)],
)
def test_native_bf16_is_timed(
    monkeypatch: pytest.MonkeyPatch, seconds: dict[torch.dtype, float], expected: bool
) -> None:
    monkeypatch.setattr(module, "bf16_is_native", lambda: True)
    monkeypatch.setattr(module, "_seconds", seconds.__getitem__)
    assert bf16_is_faster() == expected


def test_emulated_bf16_is_not_even_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_f": True, "avx512_bf16": False})
    monkeypatch.setattr(module, "_seconds", lambda dtype: pytest.fail("timed"))
    assert not bf16_is_native() and not bf16_is_faster()
    for name in ("amx_bf16", "avx512_bf16"):
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda name=name: {name: True})
        assert bf16_is_native()
