"""Item embeddings: the embed artifact, other tools' formats, rows in the order of a catalogue."""
