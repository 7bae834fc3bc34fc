"""The body: SMPL's joints, markers and vertices, in numpy and numba."""
