"""Learning a byte-level BPE tokenizer, and proving it."""
