"""The repository's own Python files, for the tests that read them."""

from __future__ import annotations

import ast
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from config import ROOT

FOLDERS = ("model", "train", "inference", "tool", "data_process")


@dataclass(frozen=True)
class Source:
    """One Python file."""

    path: Path

    @property
    def name(self) -> str:
        """Its path from the root, for messages."""
        return self.path.relative_to(ROOT).as_posix()

    @property
    def module(self) -> str:
        """Its name in an import."""
        return self.name.removesuffix(".py").removesuffix("/__init__").replace("/", ".")

    @property
    def package(self) -> str:
        """The folder it lies in; "cli" and so on for the files at the top."""
        return self.module.split(".")[0]

    @cached_property
    def text(self) -> str:
        """Its content."""
        return self.path.read_text(encoding="utf-8")

    @cached_property
    def tree(self) -> ast.Module:
        """Its syntax tree."""
        return ast.parse(self.text)

    @property
    def is_script(self) -> bool:
        """Whether it can be run."""
        return any(is_main_guard(statement) for statement in self.tree.body)


def is_main_guard(statement: ast.stmt) -> bool:
    """Whether a statement is `if __name__ == "__main__":`."""
    return isinstance(statement, ast.If) and ast.unparse(statement.test) == "__name__ == '__main__'"


def sources() -> list[Source]:
    """The files at the top and all Python files of the packages, tests excluded."""
    found = sorted(ROOT.glob("*.py"))
    for folder in FOLDERS:
        found += sorted((ROOT / folder).rglob("*.py"))
    return [Source(path) for path in found]


def scripts() -> list[Source]:
    """The files that can be run."""
    return [source for source in sources() if source.is_script]


def imports_of(source: Source) -> dict[str, int]:
    """The modules that a file imports anywhere, with line numbers; `from a import b` gives a and
    a.b."""
    found: dict[str, int] = {}
    for node in ast.walk(source.tree):
        if isinstance(node, ast.Import):
            found |= {alias.name: node.lineno for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:  # relative to the file's own package
                parents = source.module.split(".")[: -node.level]
                base = ".".join([*parents, *([base] if base else [])])
            found[base] = node.lineno
            found |= {f"{base}.{alias.name}": node.lineno for alias in node.names}
    return found
