"""What the commands for many texts share: reading records, running them in batches, and resuming after a stop."""
