"""Conversion, evaluation and pictures."""
