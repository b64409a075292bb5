"""Examines the machine, the packages and the providers. Needs none of the packages that it examines."""
