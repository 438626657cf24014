"""Load a model for full fine-tuning, or with LoRA adapters (Hu et al. 2021) on frozen or quantised weights.

Adapters are PEFT's. A trained adapter is merged into its base at full precision (merge.py), so that later stages read a
plain model. The adapter is kept beside it.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from transformers import AutoConfig, PreTrainedModel

from embedtune.core.errors import ParameterError
from embedtune.core.progress import quiet_transformers
from embedtune.models.attention import attend_by_matrix_products
from embedtune.models.dropout import with_fast_dropout
from embedtune.models.kinds import HEADS, auto_class
from embedtune.models.saving import POOLER

if TYPE_CHECKING:
    from peft import PeftModel

ADAPTER_CONFIG = "adapter_config.json"
OWN = "own"  # attention dropout as the model has it
ATTENTION_DROPOUT = ("attention_probs_dropout_prob", "attention_dropout", "attn_dropout", "attn_pdrop")  # in configs


def load_for_training(
    base: Path,
    method: str,
    *,
    attention_dropout: float | str = OWN,
    lora_r: int,
    lora_alpha: int,
    lora_dropout: float,
    lora_target_modules: list[str] | None,
    qlora_bits: int,
    compute_dtype: torch.dtype,
    device: torch.device,
    checkpoint: Path | None = None,
) -> PreTrainedModel | PeftModel:
    """Load the model in `base` on `device` for training by `method`: full, lora or qlora.

    `attention_dropout` replaces the model's own probability, unless it is OWN; the config that is saved keeps its own.
    Trained weights are fp32. The frozen weights of lora are in `compute_dtype`; those of qlora have `qlora_bits` bits
    (4: NF4, or 8). `lora_target_modules` are layer names as in PEFT, or None for every linear layer but the pooler's.
    With a `checkpoint`, the trained weights come from it. Raises ParameterError for qlora without an NVIDIA GPU or
    bitsandbytes, and for names that no linear layer has.
    """
    quiet_transformers()
    if method == "full":
        model = _loaded(checkpoint or base, attention_dropout, dtype=torch.float32).to(device)
    elif method == "qlora":
        model = _quantised(base, attention_dropout, qlora_bits, compute_dtype, device)
    else:
        model = _loaded(base, attention_dropout, dtype=compute_dtype).to(device)
    model.config.use_cache = False  # a decoder would cache keys and values that nothing uses
    attend_by_matrix_products(model)
    if method != "full":
        model = _with_adapter(model, checkpoint, device, lora_r, lora_alpha, lora_dropout, lora_target_modules)
    with_fast_dropout(model)
    return model


def _with_adapter(
    model: PreTrainedModel,
    checkpoint: Path | None,
    device: torch.device,
    rank: int,
    alpha: int,
    dropout: float,
    target_modules: list[str] | None,
) -> PeftModel:
    from peft import LoraConfig, PeftModel, get_peft_model

    if checkpoint:
        adapted = PeftModel.from_pretrained(model, checkpoint, is_trainable=True, torch_device=str(device))
        _train_in_fp32(adapted)
        load_weights(adapted, checkpoint)  # again: a head was read in the dtype of the frozen weights
        return adapted
    _refuse_unknown_layers(model, target_modules or [])
    config = LoraConfig(
        r=rank,
        lora_alpha=alpha,
        lora_dropout=dropout,
        target_modules=target_modules or "all-linear",
        exclude_modules=[name for name, _ in model.named_modules() if name.split(".")[0] == POOLER] or None,
        modules_to_save=_head(model),
    )
    adapted = get_peft_model(model, config)
    _train_in_fp32(adapted)
    return adapted


def _train_in_fp32(adapted: PeftModel) -> None:
    for parameter in trained_parameters(adapted):  # a head's copy has the dtype of the frozen weights
        parameter.data = parameter.data.float()


def _head(model: PreTrainedModel) -> list[str] | None:
    """The layers of a cross-encoder that turn a hidden state into a score: they are new, and trained as a whole."""
    layers = [name for name in HEADS if hasattr(model, name)]
    pooled = hasattr(getattr(model, "base_model", None), POOLER) and bool(layers)
    return [*layers, *([POOLER] if pooled else [])] or None


def _loaded(directory: Path, attention_dropout: float | str, **options: Any) -> PreTrainedModel:
    """The model in `directory` with another probability of attention dropout; its config keeps its own."""
    config = AutoConfig.from_pretrained(directory, local_files_only=True, trust_remote_code=False)
    own = {name: getattr(config, name) for name in ATTENTION_DROPOUT if hasattr(config, name)}
    changed = dict.fromkeys(own, attention_dropout) if attention_dropout != OWN else {}
    model = auto_class(directory).from_pretrained(
        directory, local_files_only=True, trust_remote_code=False, **options, **changed
    )
    for name, value in own.items():  # modules have read it by now
        setattr(model.config, name, value)
    return model


def _refuse_unknown_layers(model: PreTrainedModel, names: list[str]) -> None:
    linear = [name for name, module in model.named_modules() if isinstance(module, torch.nn.Linear)]
    unknown = [name for name in names if not any(f".{layer}".endswith(f".{name}") for layer in linear)]
    if unknown:
        raise ParameterError(
            "lora_target_modules",
            f"no linear layer of the model is named {', '.join(unknown)}; it has "
            f"{', '.join(sorted({layer.split('.')[-1] for layer in linear}))}; null adapts them all",
        )


def load_weights(model: PreTrainedModel | PeftModel, checkpoint: Path) -> None:
    """Load the trained weights of `checkpoint` into `model`, which must have the same structure."""
    if hasattr(model, "peft_config"):
        from peft import load_peft_weights, set_peft_model_state_dict

        set_peft_model_state_dict(model, load_peft_weights(str(checkpoint), device="cpu"))
    else:
        saved = auto_class(checkpoint).from_pretrained(
            checkpoint, dtype=torch.float32, local_files_only=True, trust_remote_code=False
        )
        model.load_state_dict(saved.state_dict())


def is_adapter(directory: Path) -> bool:
    """Whether the directory holds a PEFT adapter."""
    return (directory / ADAPTER_CONFIG).is_file()


def trained_parameters(model: torch.nn.Module) -> list[torch.nn.Parameter]:
    """The parameters that training changes."""
    return [parameter for parameter in model.parameters() if parameter.requires_grad]


def _quantised(
    base: Path, attention_dropout: float | str, bits: int, compute_dtype: torch.dtype, device: torch.device
) -> PreTrainedModel:
    if device.type != "cuda":
        raise ParameterError(
            "method",
            "qlora needs an NVIDIA GPU, and none is in sight; write `lora`, which trains the same adapters on "
            "unquantised weights",
        )
    if importlib.util.find_spec("bitsandbytes") is None:
        raise ParameterError(
            "method",
            "qlora needs the package bitsandbytes; run `make setup` where the GPU is seen, or write `lora`",
        )
    from peft import prepare_model_for_kbit_training
    from transformers import BitsAndBytesConfig

    config = BitsAndBytesConfig(
        load_in_4bit=bits == 4,
        load_in_8bit=bits == 8,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=compute_dtype,
    )
    model = _loaded(base, attention_dropout, quantization_config=config, device_map={"": device}, dtype=compute_dtype)
    return prepare_model_for_kbit_training(model, use_gradient_checkpointing=False)
