"""Measures the speed of a model file on this machine. Imports inference and artifact only."""
