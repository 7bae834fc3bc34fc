"""Training people drawn by the machine: bodies, clothes, rooms, light, cameras."""
