"""Looks at model files: what one is, what differs between two, and whether one answers here as it must."""
