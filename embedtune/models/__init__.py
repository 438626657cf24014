"""Embedding models and cross-encoders: settings, tokenizer, encoding, adapters, merging, interpolation."""
