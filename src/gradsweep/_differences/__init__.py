"""Difference arrays: NumPy duck arrays that carry, beside a value, its change in each of many perturbations."""
