"""Language models: finding, loading, prompts, LoRA, the packed forward pass, engines and GGUF files."""
