"""Catalog: see the files."""
