"""From a prompt's ids to new tokens."""
