"""`mlcycle infer dir --engine ray`: detection in the workers of a Ray cluster."""
