"""Files: written whole or not at all; hashes, caches, output folders, and what ships in the package."""

from pathlib import Path

ASSETS = Path(__file__).parent / "assets"
