"""Golden values: recorded, written to be read without this package, and compared with what others compute."""
