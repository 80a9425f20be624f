"""The contract of a backward pass: nine clauses, and how layers of all styles are called."""
