"""Recommendations, similar items, and item embeddings for other tools."""
