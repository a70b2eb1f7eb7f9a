"""Files: see the files."""
