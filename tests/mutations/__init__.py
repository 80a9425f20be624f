"""Mistakes with labels: small models whose shapes follow from a seed, and backward passes with one thing done wrong in each."""

from mutations import attention, batch_norm, convolution, dense, recurrent, regularised, softmax

MODELS = tuple(
    model for module in (dense, softmax, batch_norm, convolution, recurrent, attention, regularised) for model in module.MODELS
)
