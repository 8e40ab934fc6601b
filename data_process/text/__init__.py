"""Text files: their encoding, their sentences, samples cut from them."""
