"""embedtune: fine-tune a text-embedding model for retrieval.

The library knows nothing of DVC or of params.yaml: its functions take plain arguments and can be called from a
notebook. The stages in `stages/` read the parameters, call these functions and write the outputs.
"""

__version__ = "0.1.0"
