"""What a model knows and can do: scores of files, and how sure they are."""
