"""Report the result of a check: as text, as JSON, as an HTML page."""
