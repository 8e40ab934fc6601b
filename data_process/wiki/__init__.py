"""Wikipedia dumps to articles."""
