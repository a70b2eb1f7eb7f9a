"""Check: see the files."""
