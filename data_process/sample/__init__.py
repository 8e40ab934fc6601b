"""The built-in sample: a small invented world, told in English and Chinese."""
