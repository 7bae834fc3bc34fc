"""Tracks → People: fits a body to each person."""
