"""Ranks of targets, the best items, neighbours; metrics and paired tests."""
