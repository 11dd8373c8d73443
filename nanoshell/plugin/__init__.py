"""Plugins: the hooks that they implement, the registries that hold what they bring, and who loads them."""
