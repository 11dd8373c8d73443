"""The version of nanoshell, and of the interface that plugins are written against."""

__version__ = "0.1.0"

API_VERSION = 1
"""Raised when a public contract changes in a way that an existing plugin notices."""
