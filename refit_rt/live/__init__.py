"""Threads and the hand-off between them; this package knows nothing of people or pixels."""
