"""Correct arrays, damaged in many ways: each damage must be noticed by the check."""
