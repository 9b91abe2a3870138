"""GGUF: language models between the formats of transformers and llama.cpp."""
