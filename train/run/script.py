"""What the scripts of all stages do: read the command line, make the stage, train."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from cli import parse_config
from config import EtudeConfig

if TYPE_CHECKING:
    from train.distributed import World
    from train.stage import Stage


def run_stage(
    make: Callable[[EtudeConfig, World], Stage],
    name: str,
    output: str,
    parts: Sequence[str],
    description: str,
) -> int:
    """Trains what a stage brings; the exit code is that of `train.trainer.train`.

    Args:
        make: makes the stage out of the config.
        name: the part of EtudeConfig with its settings.
        output: the path of EtudeConfig with its model directory.
        parts: those of EtudeConfig that become flags.
        description: what the script does, for its `--help`.
    """
    config = parse_config(parts, description)
    from train.distributed import join_world  # heavy modules come after the command line
    from train.run.limits import out_of_memory_explained
    from train.trainer import train

    settings, output_dir = getattr(config, name), getattr(config.paths, output)
    with (
        join_world(settings.device, settings.parallel) as world,
        out_of_memory_explained(settings, output_dir),
    ):
        return train(make(config, world), world)
