"""The sample's base model: a tiny BERT with random weights, but with zero position and token-type embeddings.

Untrained, its mean-pooled embeddings are roughly averages of random character vectors, so it matches words. It stands
for a pre-trained model that has not yet learned a domain. Its vocabulary holds all characters of GB 2312 and lower-case
printable ASCII, so that it reads any simplified Chinese text.
"""

from __future__ import annotations

import string
from pathlib import Path

import torch
from transformers import BertConfig, BertModel, BertTokenizer

from embedtune.core.progress import quiet_transformers
from embedtune.models.settings import Settings, write_settings

LONGEST, WIDTH = 512, 128  # tokens of a text; numbers of a vector
SPECIAL_TOKENS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")


def write_sample_model(target: Path, seed: int = 0, pooling: str = "mean") -> None:
    """Write weights (fp32, 2 layers of width 128, 1.4 million parameters), config, tokenizer and settings to `target`.

    The settings are `pooling`, normalised vectors and no instruction.
    """
    quiet_transformers()
    vocabulary = _vocabulary()
    (target / "vocab.txt").write_text("\n".join(vocabulary) + "\n", encoding="utf-8")
    tokenizer = BertTokenizer(vocab=str(target / "vocab.txt"), model_max_length=LONGEST)
    tokenizer.save_pretrained(target)
    config = BertConfig(
        vocab_size=len(vocabulary),
        hidden_size=WIDTH,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=512,
        max_position_embeddings=LONGEST,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = BertModel(config, add_pooling_layer=False)
    with torch.no_grad():
        model.embeddings.position_embeddings.weight.zero_()
        model.embeddings.token_type_embeddings.weight.zero_()
    model.save_pretrained(target)
    write_settings(target, Settings(pooling, True, "", "", max_tokens=LONGEST), WIDTH)


def _vocabulary() -> list[str]:
    """Special tokens, lower-case printable ASCII (letters and digits also as continuations) and GB 2312, each once."""
    letters = string.digits + string.ascii_lowercase
    rows, cells = range(0xA1, 0xF8), range(0xA1, 0xFF)
    gb2312 = [bytes((row, cell)).decode("gb2312", errors="ignore") for row in rows for cell in cells]
    tokens = [*SPECIAL_TOKENS, *letters, *("##" + c for c in letters), *string.punctuation, *gb2312]
    return [token for token in dict.fromkeys(tokens) if token.strip()]
