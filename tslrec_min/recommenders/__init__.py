"""Sequential recommenders: models, adapters for item embeddings, training and inference."""
