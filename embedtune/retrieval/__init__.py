"""Retrieval: dense search (exact or through FAISS indexes), BM25, and the fusion of both."""
