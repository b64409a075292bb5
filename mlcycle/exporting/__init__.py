"""A model file → variants and other formats, for other devices and runtimes. Imports no torch."""
