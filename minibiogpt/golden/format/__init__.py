"""Golden cases on disk: record a run, measure its rounding noise, write and read the case file."""
