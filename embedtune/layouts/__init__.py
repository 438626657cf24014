"""Readers of the layouts that a data set may come in, each giving the same rows: `opening` opens any of them."""
