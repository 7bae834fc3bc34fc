"""The store of rendered people on disk, and the batches that training draws from it."""
