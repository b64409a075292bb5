"""`mlcycle serve --engine ray`: the server's application in the replicas of a Ray Serve deployment."""
