"""Proofs of imports ask transformers in this process, which has it: a new one takes seconds."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tool.benchmarks.measuring import run_apart
from tool.conversion import import_proof


@pytest.fixture(autouse=True)
def transformers_in_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """llama.cpp still gets a process of its own: its threads outlive it."""

    def run(function: Callable[..., Any], *args: object) -> Any:
        here = function is import_proof.ask_transformers
        return function(*args) if here else run_apart(function, *args)

    monkeypatch.setattr(import_proof, "run_apart", run)
