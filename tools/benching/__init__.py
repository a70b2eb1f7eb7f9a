"""Benchmarks of minibiogpt against transformers on one machine: cases, workers, limits, table."""
