"""Measures of rankings, and evaluation of a model during training."""
