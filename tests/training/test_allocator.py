"""Freed memory stays with the process if the C library allows it."""

import ctypes
import platform
import subprocess
import sys
from types import SimpleNamespace

import pytest

from training import allocator

# Counts the minor page faults of allocating and touching 64 MB a second, third and fourth time.
FAULTS = """
import resource, sys
import numpy as np
from training.allocator import keep_freed_memory
if sys.argv[1] == "keep":
    assert keep_freed_memory()
np.ones(8 << 20)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(3):
    np.ones(8 << 20)
sys.stdout.write(str(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before))
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc has the settings")
def test_an_array_that_is_allocated_again_is_not_fetched_page_by_page_again():
    faults = {}
    for way in ("keep", "leave"):
        done = subprocess.run(
            [sys.executable, "-c", FAULTS, way], capture_output=True, text=True, check=True, timeout=60
        )
        faults[way] = int(done.stdout)
    assert faults["keep"] < faults["leave"] / 10 + 100


def test_another_c_library_is_left_alone(monkeypatch):
    monkeypatch.setattr(ctypes, "CDLL", lambda _: SimpleNamespace())
    assert not allocator.keep_freed_memory()
