"""Latent categories of items (TSLRec, arXiv 2406.00333): pretraining and k-means."""
