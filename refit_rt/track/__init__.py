"""Tracking: keeps each person's id across frames."""
