"""The engine that computes with NumPy alone: forward and backward by hand, in numbers that torch gives too.

Everything between two layers lies as ``(height, width, channels, batch)``, or ``(features, batch)`` once flattened:
the batch is innermost. Every operation on single values then runs over long rows of memory whatever the number of
channels, and some rows of an image are a matrix as they lie, which is what `convolutions` needs.
"""
