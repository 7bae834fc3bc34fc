"""The SMPL body model in numpy and numba, the import of SMPL files, and known shapes and statures."""
