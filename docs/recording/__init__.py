"""Screens of real terminals as pictures."""
