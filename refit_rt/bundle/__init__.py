"""Bundles, which are trained networks as folders: reading, making and quantising them."""
