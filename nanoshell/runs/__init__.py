"""A run is a process and a directory; this room reads and writes the directory and imports no torch."""
