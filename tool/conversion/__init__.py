"""Conversion to and from transformers and GGUF, each with its proof."""
