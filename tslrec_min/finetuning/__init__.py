"""Fine-tuning of the language model on users' preferences, and its verified conversion to GGUF."""
