"""One thread: tiny models gain nothing from more, and lose much when the machine is busy."""

from __future__ import annotations

import pytest
import torch

from inference.engine.native import LIBRARY, find_compiler

torch.set_num_threads(1)


@pytest.fixture
def compiled() -> None:
    """The native forward pass."""
    LIBRARY.prepare()
    if not LIBRARY.wait():
        assert not find_compiler(), "native.cpp does not compile"
        pytest.skip("there is no C++ compiler to build the native forward pass with")


@pytest.fixture(params=["torch", "native"])
def native(request: pytest.FixtureRequest) -> bool:
    """Both ways through the network."""
    if request.param == "native":
        request.getfixturevalue("compiled")
    return bool(request.param == "native")
