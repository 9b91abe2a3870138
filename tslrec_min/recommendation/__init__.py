"""Recommendations, similar items, and vectors for other tools."""
