"""The HTTP server: a verified model file that answers many clients at once (`mlcycle serve`)."""
