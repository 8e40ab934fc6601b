"""Running what a model calls: functions of a person's own Python file."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from cli import run_file
from config import UserError
from model.conversation import Message, Tool, arguments_of

Functions = Mapping[str, Callable[..., object]]
"""By the names of the tools."""
MOST_ROUNDS = 8
"""How often a model may call tools for one message."""


def load_functions(path: Path, tools: Sequence[Tool]) -> Functions:
    """The functions of a Python file, which is run, for all tools.

    Raises:
        UserError: the file is missing, cannot be run, or lacks one.
    """
    module = run_file("--tool_file", path)
    found = {name: getattr(module, name, None) for name in (t["function"]["name"] for t in tools)}
    if missing := [name for name, function in found.items() if not callable(function)]:
        raise UserError(f"--tool_file {path}: it has no function {missing[0]}")
    return {name: function for name, function in found.items() if function}


def run_call(functions: Functions, call: Mapping[str, Any]) -> Message:
    """The result of a call as a message; when the function fails, the model reads why."""
    function = call["function"]
    try:
        result = str(functions[function["name"]](**arguments_of(function)))
    except (Exception, SystemExit) as error:  # the model may make up any arguments
        result = f"error: {' '.join(str(error).split())}"
    return {"role": "tool", "content": result, "tool_call_id": call["id"]}
