"""Comparing a candidate's arrays with a golden case: files read, names paired, layouts found, errors judged."""
