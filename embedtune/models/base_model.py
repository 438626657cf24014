"""Prepare a base model: weights as safetensors, a fast tokenizer, and sentence-transformers' settings files."""

from __future__ import annotations

from pathlib import Path

from embedtune.core.errors import EmbedTuneError
from embedtune.core.progress import quiet_transformers
from embedtune.models.base_tokenizer import load_source_tokenizer, write_tokenizer
from embedtune.models.base_weights import load_source_model
from embedtune.models.lengths import max_tokens
from embedtune.models.own_settings import agreed_settings, read_own_settings
from embedtune.models.saving import save_weights
from embedtune.models.settings import Settings, write_settings


def prepare_model(
    source: Path,
    target: Path,
    *,
    pooling: str | None,
    normalize: bool | None,
    query_instruction: str | None,
    passage_instruction: str | None,
) -> Settings:
    """Load the model in `source` (Hugging Face's layout) and write it to `target` with the files of settings.py.

    Weights keep their dtype. A setting of None is the model's own, as its sentence-transformers files say. Returns the
    settings. Raises EmbedTuneError when `source` is not a model, or is another than its files say (base_weights.py), or
    has no tokenizer or one that does not fit (base_tokenizer.py), or has sentence-transformers modules other than
    pooling and normalisation. Raises ParameterError when a setting contradicts the model's own.
    """
    quiet_transformers()
    own = read_own_settings(source)  # first: it is read at once
    model = load_source_model(source)
    try:
        tokenizer = load_source_tokenizer(source)
    except EmbedTuneError:
        raise
    except Exception as error:  # whatever transformers meets in these files, the files are the reason
        raise EmbedTuneError(f"{source}: its tokenizer cannot be loaded: {error}") from error
    if not tokenizer.is_fast:
        raise EmbedTuneError(f"{source}: its tokenizer has no fast version (tokenizer.json), which embedtune needs")
    settings = agreed_settings(
        own,
        pooling=pooling,
        normalize=normalize,
        query_instruction=query_instruction,
        passage_instruction=passage_instruction,
        max_tokens=max_tokens(model, tokenizer),
    )
    rows, last_token = model.get_input_embeddings().num_embeddings, settings.pooling == "last_token"
    write_tokenizer(tokenizer, source, target, rows=rows, lower_case=own.lower_case, last_token=last_token)
    save_weights(model, target)
    write_settings(target, settings, model.config.hidden_size)
    return settings
