"""Hostile input for every door of the package: targets, mutations, and the guarded worker that runs them."""
