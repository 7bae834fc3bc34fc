"""The data sets of the field: their label files → records → augmented crops → batches mixed by ratio."""
