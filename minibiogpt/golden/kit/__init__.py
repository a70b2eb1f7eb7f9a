"""Kit: see the files."""
