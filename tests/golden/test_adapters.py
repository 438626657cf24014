"""LoRA on encoders and decoders; the merged model against the adapter; what cannot be done is said."""

from pathlib import Path

import pytest
import torch
from peft import PeftModel
from transformers import (
    AutoModel,
    BertConfig,
    BertModel,
    ModernBertConfig,
    ModernBertModel,
    Qwen2Config,
    Qwen2Model,
    Qwen3Config,
    Qwen3Model,
    XLMRobertaConfig,
    XLMRobertaModel,
)

from embedtune.core.errors import EmbedTuneError
from embedtune.models import merge as merge_module
from embedtune.models.adapters import load_for_training, trained_parameters
from embedtune.models.merge import merge
from embedtune.models.saving import save_trained
from embedtune.models.settings import Settings, write_settings
from tests.golden.training import Data, run, training_set

LORA = {
    "lora_r": 4,
    "lora_alpha": 8.0,
    "lora_dropout": 0.0,
    "lora_target_modules": None,
    "qlora_bits": 4,
    "compute_dtype": torch.float32,
    "device": torch.device("cpu"),
}
SMALL = {
    "vocab_size": 100,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
}
MODELS = {
    "bert": lambda: BertModel(BertConfig(**SMALL)),
    "xlm-roberta": lambda: XLMRobertaModel(XLMRobertaConfig(**SMALL)),
    "modernbert": lambda: ModernBertModel(ModernBertConfig(**SMALL, pad_token_id=0)),
    "qwen2": lambda: Qwen2Model(Qwen2Config(**SMALL, num_key_value_heads=2)),
    "qwen3": lambda: Qwen3Model(Qwen3Config(**SMALL, num_key_value_heads=2, head_dim=8)),
}


@pytest.fixture(params=MODELS)
def any_base(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    torch.manual_seed(0)
    target = tmp_path / "base"
    MODELS[request.param]().save_pretrained(target)
    write_settings(target, Settings("mean", True, "", "", 64), SMALL["hidden_size"])
    return target


def trained_a_little(base: Path) -> PeftModel:
    """An adapter whose weights are not the initial ones, which change nothing."""
    model = load_for_training(base, "lora", **LORA)
    with torch.no_grad():
        for parameter in trained_parameters(model):
            parameter.add_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1)) * 0.1)
    return model


def hidden(model: torch.nn.Module) -> torch.Tensor:
    ids = torch.randint(5, 100, (3, 12), generator=torch.Generator().manual_seed(2))
    with torch.inference_mode():
        return model.eval()(input_ids=ids, attention_mask=torch.ones_like(ids)).last_hidden_state


def test_every_linear_layer_but_an_unused_pooler_is_adapted(any_base: Path) -> None:
    model = load_for_training(any_base, "lora", **LORA)
    plain = AutoModel.from_pretrained(any_base)
    linear = {n for n, m in plain.named_modules() if isinstance(m, torch.nn.Linear) and "pooler" not in n}
    adapted = {
        name.removeprefix("base_model.model.").removesuffix(".lora_A.default.weight")
        for name, parameter in model.named_parameters()
        if parameter.requires_grad and "lora_A" in name
    }
    assert adapted == linear
    assert all("lora_" in name for name, parameter in model.named_parameters() if parameter.requires_grad)


@pytest.mark.parametrize(("precision", "allowed"), [("fp32", 1e-4), ("bf16", 1e-2), ("fp16", 1e-2)])
def test_the_merged_model_embeds_as_the_adapter_does(
    any_base: Path, tmp_path: Path, precision: str, allowed: float
) -> None:
    model = trained_a_little(any_base)
    adapter, target = tmp_path / "adapter", tmp_path / "merged"
    save_trained(model, any_base, adapter)
    target.mkdir()
    assert merge(any_base, adapter, target, precision) <= allowed
    written = AutoModel.from_pretrained(target)
    assert written.dtype == {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[precision]
    assert not any("lora" in name for name in written.state_dict())
    scale = hidden(model).abs().max()
    assert (hidden(written.float()) - hidden(model)).abs().max() / scale < 10 * allowed
    base = AutoModel.from_pretrained(any_base)
    assert (hidden(base) - hidden(model)).abs().max() / scale > 0.05, "the adapter does something"


def test_a_checkpoint_gives_the_adapter_back_bit_by_bit(any_base: Path, tmp_path: Path) -> None:
    model = trained_a_little(any_base)
    save_trained(model, any_base, tmp_path / "adapter")
    again = load_for_training(any_base, "lora", **LORA, checkpoint=tmp_path / "adapter")
    ours, theirs = trained_parameters(model), trained_parameters(again)
    assert len(ours) == len(theirs) > 0
    assert all(torch.equal(one, other) for one, other in zip(ours, theirs, strict=True))
    assert all(torch.equal(a, b) for a, b in zip(hidden(model), hidden(again), strict=True))


def test_a_merge_that_embeds_otherwise_is_found_out(
    any_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_trained(trained_a_little(any_base), any_base, tmp_path / "adapter")
    (tmp_path / "merged").mkdir()
    save_model = merge_module.save_model

    def save_another(model: torch.nn.Module, base: Path, target: Path) -> None:
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(3)) * 0.1)
        save_model(model, base, target)

    monkeypatch.setattr(merge_module, "save_model", save_another)
    with pytest.raises(EmbedTuneError, match="embeddings differ by up to"):
        merge(any_base, tmp_path / "adapter", tmp_path / "merged")


def test_training_an_adapter_learns_and_leaves_the_base_alone(tmp_path: Path, base: Path, data: Data) -> None:
    questions = training_set(base, data)
    trained = run(base, questions, tmp_path, method="lora", learning_rate=1e-2, num_train_epochs=6)
    log = trained.record.log
    assert log[-1]["loss"] < log[0]["loss"] - 0.2
    plain = AutoModel.from_pretrained(base).state_dict()
    for name, tensor in trained.backbone.get_base_model().state_dict().items():
        if "lora_" not in name:
            assert torch.equal(tensor, plain[name.replace(".base_layer", "")]), name
    assert trained.trained_parameters == sum(p.numel() for p in trained_parameters(trained.backbone)) > 0
    assert trained.trained_parameters < 0.1 * sum(p.numel() for p in plain.values())


def test_named_layers_alone_are_adapted(base: Path) -> None:
    model = load_for_training(base, "lora", **(LORA | {"lora_target_modules": ["query"]}))
    assert {n.split(".")[-4] for n, p in model.named_parameters() if p.requires_grad} == {"query"}


def test_a_name_that_no_layer_has_is_refused_with_those_there_are(base: Path) -> None:
    with pytest.raises(EmbedTuneError, match=r"no linear layer of the model is named q_proj; it has dense, key, query"):
        load_for_training(base, "lora", **(LORA | {"lora_target_modules": ["query", "q_proj"]}))


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_qlora_without_a_gpu_says_what_to_choose(base: Path) -> None:
    with pytest.raises(EmbedTuneError, match=r"method: qlora needs an NVIDIA GPU.*write `lora`"):
        load_for_training(base, "qlora", **LORA)
