"""The command line of every script, made of dataclasses of settings, and how a script ends.

`parse_config` reads the parts of `EtudeConfig` that a script uses, `parse_flags` a dataclass of its
own; `run_script` turns a `UserError` into one line on standard error and an exit code.
"""

from __future__ import annotations

import argparse
import dataclasses
import difflib
import importlib.util
import os
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Annotated, Any, Literal, NoReturn, TypeVar, get_type_hints

from config import PRESETS, EtudeConfig, PathConfig, Settings, UserError
from terminal import (
    Ending,
    SignalThread,
    failed_output,
    handle_interrupts,
    has_colours,
    keep_output_from_failing,
    say,
)

handle_interrupts()  # scripts import this first: for Ctrl-C in their other imports
# Before torch loads libgomp: a thread that waits for the others soon sleeps, and leaves its core to
# other programs. With two of them on two cores training is then twice as fast (LOG.md).
os.environ.setdefault("GOMP_SPINCOUNT", "1000")


def parse_config(
    parts: Sequence[str],
    description: str,
    args: Sequence[str] | None = None,
    prog: str | None = None,
) -> EtudeConfig:
    """Reads the command line into a config.

    Args:
        parts: the fields of EtudeConfig that the script uses; only their fields become flags.
        description: what the script does, for its `--help`.
        args: the command line; None for that of the process.
        prog: what stands before the flags in the usage line; None for the script's name.

    Raises:
        UserError: the values do not fit together; all problems are named at once.
    """
    import tyro

    args = list(sys.argv[1:] if args is None else args)
    file = flag_value(args, "config")
    stated = SettingsFile(Path(file)) if file else None
    preset = flag_value(args, "preset") or (stated.preset if stated else None)
    defaults = PRESETS[preset if preset in PRESETS else "base"]()  # tyro refuses a wrong one
    if stated:
        defaults = stated.over(defaults)
    by_name = {f.name: f for f in dataclasses.fields(EtudeConfig)}
    # Only the parts asked for become flags; their types and docstrings stay those of EtudeConfig.
    chosen: list[Any] = [(n, type(getattr(defaults, n)), by_name[n]) for n in parts]
    presets: Any = Annotated[Literal[tuple(PRESETS)], tyro.conf.arg(help=preset_help())]
    files: Any = Annotated[Path | None, tyro.conf.arg(help=CONFIG_HELP)]
    nothing: Any = dataclasses.field(default=None)
    fields = [("preset", presets, by_name["preset"]), ("config", files, nothing), *chosen]
    command = dataclasses.make_dataclass("Command", fields, frozen=True)
    start = command(config=None, **{n: getattr(defaults, n) for n in ("preset", *parts)})
    given = read_command(start, description, args, prog)
    config = dataclasses.replace(defaults, **{n: getattr(given, n) for n in parts})
    if problems := config.problems(parts):
        raise UserError("\n".join(problems))
    return config


Flags = TypeVar("Flags", bound=Settings)


def parse_flags(
    default: Flags, description: str, args: Sequence[str] | None = None, prog: str | None = None
) -> Flags:
    """Reads the command line of a script that needs no training configuration.

    Args:
        default: a config; its fields are the flags, and its values their defaults.
        description: what the script does, for its `--help`.
        args: the command line; None for that of the process.
        prog: what stands before the flags in the usage line; None for the script's name.

    Raises:
        UserError: the values are wrong; all problems are named at once.
    """
    given: Flags = read_command(default, description, args, prog)
    if problems := given.problems():
        raise UserError("\n".join(problems))
    return given


def read_command(
    default: Any, description: str, args: Sequence[str] | None, prog: str | None = None
) -> Any:
    """What a command line makes of a dataclass: its fields are the flags, its values the defaults,
    its docstrings the help; a wrong flag ends the process with code 2."""
    import tyro

    tyro._experimental_options["ansi_codes"] = has_colours(sys.stdout) and has_colours(sys.stderr)
    return tyro.cli(
        type(default),
        default=default,
        args=args,
        prog=prog,
        description=re.sub(r"\n+python", "\n  python", description),  # lines of their own
        use_underscores=True,
        config=(tyro.conf.OmitArgPrefixes,),
    )


def preset_help() -> str:
    """The presets with the docstrings of their functions."""
    lines = [f"{name}: {' '.join((make.__doc__ or '').split())}" for name, make in PRESETS.items()]
    return "The set of defaults to start from. " + " ".join(lines)


def flag_value(args: Sequence[str], name: str) -> str | None:
    """The value of a flag in a command line, before the command line as a whole is read."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument(f"--{name}", nargs="?", dest="value")
    value: str | None = parser.parse_known_args(args)[0].value
    return value


CONFIG_HELP = """A YAML file of settings, in sections as in the run.yaml of a model directory
(model, tokenizer, pretrain, sft, dpo, grpo, lora, paths; and preset). Flags go before it, it before
the preset."""


class SettingsFile:
    """A YAML file that holds settings by section and name; each mistake in it has its line."""

    def __init__(self, path: Path) -> None:
        """Raises UserError when the file is missing, or is not YAML."""
        import yaml  # type: ignore[import-untyped]  # only who names a file pays for it

        self.path = path
        try:
            root = yaml.compose(path.read_text(encoding="utf-8"), Loader=yaml.SafeLoader)
        except (OSError, UnicodeDecodeError) as error:
            raise UserError(f"--config {path}: cannot be read ({error})") from error
        except yaml.YAMLError as error:
            mark = getattr(error, "problem_mark", None)
            where = f"{path}:{mark.line + 1}" if mark else f"{path}"
            problem = getattr(error, "problem", None) or str(error)
            raise UserError(f"{where}: not readable as YAML ({problem})") from error
        self.yaml_error: type[Exception] = yaml.YAMLError
        self.loader = yaml.SafeLoader("")
        self.sections = self.entries(root, "the file")
        _, preset = self.sections.pop("preset", (None, None))
        self.preset = preset and self.typed(preset, "preset", "", Literal[tuple(PRESETS)] | None)

    def wrong(self, node: Any, problem: str) -> UserError:
        """A mistake at a place of the file."""
        return UserError(f"{self.path}:{node.start_mark.line + 1}: {problem}")

    def entries(self, node: Any, what: str) -> dict[str, tuple[Any, Any]]:
        """The nodes of the keys and values of a mapping, by name; an empty one has none."""
        if node is None or getattr(node, "tag", "").endswith(":null"):
            return {}
        if not hasattr(node, "value") or node.id != "mapping":
            raise self.wrong(node, f"{what} must be a mapping, like batch_size: 16")
        names = [key.value for key, _ in node.value]
        for number, (key, _) in enumerate(node.value):
            if key.id != "scalar":
                raise self.wrong(key, f"{what} has a key that is no name")
            if key.value in names[:number]:
                raise self.wrong(key, f"{key.value} is given twice")
        try:
            self.loader.flatten_mapping(node)  # <<: *others, before the node's own
        except self.yaml_error as error:
            raise self.wrong(node, f"{what}: {getattr(error, 'problem', error)}") from error
        return {key.value: (key, value) for key, value in node.value}

    def over(self, defaults: EtudeConfig) -> EtudeConfig:
        """The defaults with what the file says in their place.

        Raises:
            UserError: a section or a setting is unknown, or a value is not of its kind.
        """
        kinds = {f.name: getattr(defaults, f.name) for f in dataclasses.fields(defaults)}
        parts: dict[str, Any] = {
            name: value for name, value in kinds.items() if isinstance(value, Settings)
        }
        for name, (key, node) in self.sections.items():
            if name not in parts:
                homes = [part for part, value in parts.items() if name in names_of(value)]
                way = f"put it under {' or '.join(homes)}" if homes else "there is no such section"
                raise self.wrong(key, f"{name}: {way} (sections: {', '.join(parts)})")
            parts[name] = self.section(node, parts[name], name)
        return dataclasses.replace(defaults, **parts)

    def section(self, node: Any, default: Settings, name: str) -> Settings:
        """A part of the config with what a section says in its place."""
        hints = get_type_hints(type(default), include_extras=True)
        changes: dict[str, Any] = {}
        for key, (place, value) in self.entries(node, name).items():
            if key not in names_of(default):
                near = difflib.get_close_matches(key, names_of(default), 1)
                hint = f"; {near[0]} is meant?" if near else ""
                raise self.wrong(place, f"{name} has no setting {key}{hint}")
            old = getattr(default, key)
            if isinstance(old, Settings):
                changes[key] = self.section(value, old, key)
            else:
                changes[key] = self.typed(value, key, old, hints[key])
        return dataclasses.replace(default, **changes)

    def typed(self, node: Any, name: str, old: Any, hint: Any) -> Any:
        """A value in the type of its field, and in its range; old is one of that type."""
        from pydantic import TypeAdapter, ValidationError

        try:
            value = self.loader.construct_object(node, deep=True)
        except (ValueError, self.yaml_error) as error:  # no date, or a tag that would run code
            problem = getattr(error, "problem", error)
            raise self.wrong(node, f"{name} is not plain YAML ({problem})") from error
        if isinstance(value, bool) and not isinstance(old, bool):
            value = str(value)  # else yes is the number 1
        if isinstance(value, str) and isinstance(old, tuple):
            value = [value]
        try:
            return in_home(TypeAdapter(hint).validate_python(value))
        except ValidationError as error:
            reason = error.errors()[0]["msg"]
            raise self.wrong(node, f"{name} is {value!r:.60}: {reason}") from error


def in_home(value: Any) -> Any:
    """A setting whose paths may begin with ~, which a shell has replaced on a command line."""
    if isinstance(value, tuple):
        return tuple(in_home(item) for item in value)
    return value.expanduser() if isinstance(value, Path) else value


def names_of(part: Settings) -> list[str]:
    """The settings of a part that a file may hold; the vocabulary is the tokenizer's."""
    names = [item.name for item in dataclasses.fields(part)]
    return [name for name in names if (type(part).__name__, name) != ("ModelConfig", "vocab_size")]


def settings_text(config: EtudeConfig, parts: Sequence[str]) -> str:
    """Parts of a config as a file that --config reads; without the paths that are the default."""
    import yaml

    def plain(value: Any) -> Any:
        if isinstance(value, Settings):
            fields = {name: getattr(value, name) for name in names_of(value)}
            usual = vars(value.__class__) if isinstance(value, PathConfig) else {}
            return {n: plain(v) for n, v in fields.items() if n not in usual or usual[n] != v}
        if isinstance(value, tuple):
            return [plain(item) for item in value]
        return str(value) if isinstance(value, Path) else value

    sections = {name: plain(getattr(config, name)) for name in ("preset", *parts)}
    head = "# The settings of this run, for --config. Paths count from where it was started.\n"
    return head + yaml.safe_dump(sections, sort_keys=False, allow_unicode=True)


def run_file(flag: str, path: Path) -> ModuleType:
    """Runs a person's own Python file, and returns it as a module.

    Raises:
        UserError: it is missing, or cannot be run; the flag is named.
    """
    if not path.is_file():
        raise UserError(f"{flag} {path}: there is no such file")
    spec = importlib.util.spec_from_file_location(flag.strip("-"), path)
    if spec is None or spec.loader is None:
        raise UserError(f"{flag} {path}: not a Python file; its name must end with .py")
    module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)  # for dataclasses
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        reason = f"{type(error).__name__}: {' '.join(str(error).split())}"
        raise UserError(f"{flag} {path}: cannot be run ({reason})") from error
    return module


def run_script(main: Callable[[], int | None]) -> NoReturn:
    """Runs a script's main and leaves the process: 0 or main's own code when it ends, 2 after a
    user's mistake (one line on standard error, no traceback), 130 after Ctrl-C.

    Output is UTF-8 on every system, each line is seen at once, and a screen that is gone ends
    nothing; see `terminal.py`.
    """
    handle_interrupts()
    keep_output_from_failing()
    ending = Ending()
    with SignalThread(ending.leave_soon):
        try:
            code = main() or 0
        except UserError as error:
            for line in str(error).splitlines():
                print(f"error: {line}", file=sys.stderr)
            code = 2
        except KeyboardInterrupt:
            code = 130
            ending.earn(code)
            say("stopped")
        except OSError:
            if not failed_output():
                raise
            code = 1
        if failure := failed_output():
            code = 141  # as of a tool that the reader of its output (head, less) has left
            if not isinstance(failure, BrokenPipeError):
                print(f"error: standard output: {failure.strerror}", file=sys.stderr)
                code = 1
        ending.earn(code)
        sys.exit(code)
