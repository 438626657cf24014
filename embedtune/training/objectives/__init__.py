"""Training objectives, one a module: what of a batch is embedded, and the loss over the embeddings."""
