"""Fuzzing of every entry point of the package: targets, mutations, and the guarded worker that runs them."""
