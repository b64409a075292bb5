"""The model file: its contract, and how it is sealed, verified and signed."""
