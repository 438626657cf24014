"""Data sets: download, readers of common layouts, conversion, splits, leak detection, and cutting into passages."""
