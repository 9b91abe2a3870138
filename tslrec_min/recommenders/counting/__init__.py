"""Recommenders without training: counts of training histories, and item vectors as they are."""
