"""Readers of data-set layouts. All of them yield the same row types; `opening` opens any of them."""
