"""Recordings of people's movement."""
