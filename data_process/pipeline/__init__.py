"""The chain of prepare.py: from raw files to one clean training file, and its report."""
