"""The contract of the model file: what is written into it, how it is sealed, how it is verified."""
