"""Selftest: see the files."""
