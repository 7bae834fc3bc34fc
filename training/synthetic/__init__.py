"""Training people drawn by the machine: bodies, clothes, rooms, light, cameras."""

from training.synthetic.generator import Assets, Generator, Sample

__all__ = ["Assets", "Generator", "Sample"]
