"""The built-in sample: texts, conversations and held-out questions about a small invented world."""
