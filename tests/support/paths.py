"""Where things lie: the repository, the tests' own data, and the recordings beside the repository."""

from pathlib import Path

ROOT = Path(__file__).parents[2]
DATA = ROOT / "tests" / "data"
SHARED = ROOT.parent / "shared"  # real recordings and free assets; a test that needs one skips without it
