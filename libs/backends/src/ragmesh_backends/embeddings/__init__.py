"""Texts to unit vectors: the embedded MiniLM, and the tokenizer that measures passages for it."""
