"""Shared by the commands for many texts: reading records, running them in batches, and resuming a killed run."""
