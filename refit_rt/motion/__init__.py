"""Reads and writes recordings of people's motion."""
