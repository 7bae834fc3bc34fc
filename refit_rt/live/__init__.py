"""Threads and the hand-off between them: nothing here knows of people or pixels."""
