"""Format: see the files."""
