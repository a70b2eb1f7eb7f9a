"""The parts of tools/check_generate.py: random cases, both implementations, their comparison, known differences."""
