"""Batch: see the files."""
