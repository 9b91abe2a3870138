"""The sum of several recommenders, with weights that depend on how often an item occurs in training."""
