"""Readers of the public data sets: label files become records, augmented crops, and batches mixed by ratio."""
