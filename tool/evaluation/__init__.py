"""Scoring a model: questions, multiple choice, bits per byte; the curves of its training."""
