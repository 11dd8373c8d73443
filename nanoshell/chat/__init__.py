"""Conversations: the template that turns them into ids, and the store that keeps them."""
