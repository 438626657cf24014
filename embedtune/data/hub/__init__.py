"""The Hugging Face hub: listing a repository, downloading its files, and Hugging Face's cache on this machine."""
