"""The language model: its configuration, layers, cache and weights on disk."""
