"""Renders training pictures of people: bodies, clothes, rooms, light and cameras."""

from training.synthetic.generator import Assets, Generator, Sample

__all__ = ["Assets", "Generator", "Sample"]
