"""Draws bodies over images and writes overlay videos."""
