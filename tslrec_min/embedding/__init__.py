"""Embedding of every item by a language model."""
