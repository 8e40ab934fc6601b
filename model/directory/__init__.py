"""The model directory: written whole, read with its checksums."""
