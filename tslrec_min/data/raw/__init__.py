"""Raw interactions and titles in the formats of public data sets."""
