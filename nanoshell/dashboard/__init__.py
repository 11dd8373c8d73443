"""The dashboard: a Textual program that shows run directories, and steers the runs that live."""
