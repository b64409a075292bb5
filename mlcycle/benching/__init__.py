"""Benching: how fast a model file answers on this machine. Sees inference and the model file, and nothing else."""
