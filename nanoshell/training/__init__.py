"""Training: configuration, optimizer, schedule, loop, checkpoints, and the worker process that runs them."""
