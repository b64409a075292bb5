"""A model file → another model file, for where it must run. Knows no torch."""
