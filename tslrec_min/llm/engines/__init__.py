"""Embedding engines: `llama_engine` is the fast one, `torch_engine` the reference; `engine` holds what they share."""
