"""The whole chain from one configuration."""
