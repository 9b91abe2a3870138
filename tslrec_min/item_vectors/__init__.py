"""Item embeddings: the embed artifact, formats of other tools, and loading in the order of a data set's items."""
