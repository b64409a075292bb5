"""Examines model files: model cards, differences between two files, and self-tests on all providers."""
