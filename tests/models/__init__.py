"""The corpus: small models as people write them in NumPy, each with a backward pass by hand, right and with planted bugs."""
