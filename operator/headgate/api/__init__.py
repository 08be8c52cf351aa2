"""What a user writes: one frozen pydantic module per kind, conditions, and the generator of the CRDs."""
