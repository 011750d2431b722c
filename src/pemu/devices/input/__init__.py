"""Keyboards, mice, and what they are connected to."""
