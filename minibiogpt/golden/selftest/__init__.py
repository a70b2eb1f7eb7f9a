"""Test the check itself: corrupt correct arrays in many ways, each of which the check must catch."""
