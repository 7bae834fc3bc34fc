"""Builds the free body of refit_rt/assets/body from MakeHuman's CC0 assets."""
