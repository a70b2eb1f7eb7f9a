"""Checkpoint: see the files."""
