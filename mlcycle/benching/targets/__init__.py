"""What is measured: a model in this process, or a server."""
