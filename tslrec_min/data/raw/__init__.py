"""Raw interactions and titles in the formats that people have them in."""
