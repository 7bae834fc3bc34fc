"""Rendered people on disk, and the batches that training reads from there."""
