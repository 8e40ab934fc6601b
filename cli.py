"""The command line of every script, made of dataclasses of settings, and how a script ends.

`parse_config` reads the parts of `EtudeConfig` that a script uses, `parse_flags` a dataclass of its
own; `run_script` turns a `UserError` into one line on standard error and an exit code.
"""

from __future__ import annotations

import argparse
import dataclasses
import signal
import sys
from collections.abc import Callable, Sequence
from typing import Annotated, Any, Literal, NoReturn, TypeVar

import tyro

from config import PRESETS, EtudeConfig, Settings, UserError
from terminal import (
    SignalThread,
    failed_output,
    interrupt,
    keep_output_from_failing,
    leave_soon,
)


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
    args = list(sys.argv[1:] if args is None else args)
    defaults = PRESETS[preset_name(args)]()
    by_name = {f.name: f for f in dataclasses.fields(EtudeConfig)}
    # Only the parts asked for become flags; their types and docstrings stay those of EtudeConfig.
    chosen: list[Any] = [(n, type(getattr(defaults, n)), by_name[n]) for n in parts]
    presets: Any = Annotated[Literal[tuple(PRESETS)], tyro.conf.arg(help=preset_help())]
    fields = [("preset", presets, by_name["preset"]), *chosen]
    command = dataclasses.make_dataclass("Command", fields, frozen=True)
    start = command(**{n: getattr(defaults, n) for n in ("preset", *parts)})
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
    return tyro.cli(
        type(default),
        default=default,
        args=args,
        prog=prog,
        description=description,
        use_underscores=True,
        config=(tyro.conf.OmitArgPrefixes,),
    )


def preset_help() -> str:
    """The presets with the docstrings of their functions."""
    lines = [f"{name}: {' '.join((make.__doc__ or '').split())}" for name, make in PRESETS.items()]
    return "The set of defaults to start from. " + " ".join(lines)


def preset_name(args: Sequence[str]) -> str:
    """The value of --preset in a command line, or "base"; a wrong one is left for tyro to
    refuse."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--preset", nargs="?")
    name = parser.parse_known_args(args)[0].preset
    return name if name in PRESETS else "base"


def run_script(main: Callable[[], int | None]) -> NoReturn:
    """Runs a script's main and leaves the process: 0 or main's own code when it ends, 2 after a
    user's mistake (one line on standard error, no traceback), 130 after Ctrl-C.

    Output is UTF-8 on every system, each line is seen at once, and a screen that is gone ends
    nothing; see `terminal.py`.
    """
    keep_output_from_failing()
    signal.signal(signal.SIGINT, interrupt)
    with SignalThread(leave_soon):
        try:
            code = main() or 0
        except UserError as error:
            for line in str(error).splitlines():
                print(f"error: {line}", file=sys.stderr)
            code = 2
        except KeyboardInterrupt:
            signal.signal(signal.SIGINT, signal.SIG_DFL)
            print("\nstopped", file=sys.stderr)
            code = 130
        except OSError:
            if not failed_output():
                raise
            code = 1
        if failure := failed_output():
            code = 141  # as of a tool that the reader of its output (head, less) has left
            if not isinstance(failure, BrokenPipeError):
                print(f"error: standard output: {failure.strerror}", file=sys.stderr)
                code = 1
        sys.exit(code)
