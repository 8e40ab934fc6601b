"""Cleaning documents: normalisation, boilerplate, quality, language, personal data."""
