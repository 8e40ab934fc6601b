"""The passes of the wikitext cleaner, one module each."""
