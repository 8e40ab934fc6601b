"""Scoring a model: questions, multiple choice, bits per byte."""
