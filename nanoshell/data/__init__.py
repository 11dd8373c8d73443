"""From where documents come to the batches that a model trains on: source, corpus, token file, loader."""
