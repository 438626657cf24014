"""The embedded default: a generated data set in MLDR's layout, and a tiny untrained BERT to tune on it."""
