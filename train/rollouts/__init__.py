"""Answers that the model in training gives, and their rewards."""
