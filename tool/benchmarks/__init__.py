"""Measuring speed, time to quality, cleaning and scaling against others."""
