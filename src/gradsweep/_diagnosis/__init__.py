"""The diagnosis: which mistake the evidence of failing blocks is consistent with."""
