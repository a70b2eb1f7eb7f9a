"""Interrupted, failing and competing runs of every command that writes: children, moments, and what must hold after."""
