"""Scripts that make or prepare training data."""
