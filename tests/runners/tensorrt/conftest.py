"""Fixtures for the TensorRT backend: bundles of random networks, and an empty cache with a TensorRT made of numpy."""

import sys

import pytest

from refit_rt.body.smpl import load_body
from refit_rt.bundle.make import Facts, export_bundle
from refit_rt.bundle.read import Bundle, load_bundle
from refit_rt.runners.tensorrt import check
from tests.support.engine_calls import CONFIGS
from tests.support.fake_tensorrt import FakeCuda, Library
from tests.support.tiny import lively


@pytest.fixture(scope="session")
def random_bundles(tmp_path_factory) -> dict[str, Bundle]:
    folder = tmp_path_factory.mktemp("bundles")
    for name, network in CONFIGS.items():
        export_bundle(lively(network, load_body()), folder / name, Facts(name, "none"))
    return {name: load_bundle(folder / name) for name in CONFIGS}


@pytest.fixture(scope="session")
def truths(random_bundles, tmp_path_factory):
    """The CPU runner's outputs, with which every runner is compared when it is loaded; they are computed once."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("REFIT_RT_CACHE", str(tmp_path_factory.mktemp("cache")))
        return {name: check.truth_of(bundle) for name, bundle in random_bundles.items()}


@pytest.fixture
def library(tmp_path, monkeypatch, truths) -> Library:
    """A fresh TensorRT and GPU, and an empty cache."""
    monkeypatch.setenv("REFIT_RT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(check, "made_truth", lambda bundle: truths[bundle.card.name])
    library = Library(FakeCuda())
    monkeypatch.setitem(sys.modules, "tensorrt", library.module)
    return library
