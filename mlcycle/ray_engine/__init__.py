"""`mlcycle infer dir --engine ray`: the steps of mlcycle.inference, done by the workers of a Ray cluster."""
