"""Looking inside a model: what it expects next, what each token cost it, what it attends to."""
