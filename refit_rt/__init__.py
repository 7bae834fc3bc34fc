"""Video in, SMPL bodies out, live."""

__version__ = "0.1.0"
