"""The prompt: reading lines, completing them, the toolbar."""
