"""A trained network as a folder: everything that makes, quantises or reads one."""
