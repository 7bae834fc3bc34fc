"""Calibration of cameras: board, pictures of it → lenses and places of the cameras of a rig."""
