"""Training data: tokenised files, packed rows, batches."""
