"""What a check found: as text, as JSON, as a page."""
