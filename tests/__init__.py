"""Tests; the folders below mirror the repository."""
