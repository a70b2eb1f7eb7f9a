"""Report: see the files."""
