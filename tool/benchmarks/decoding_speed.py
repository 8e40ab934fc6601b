"""How fast Etude answers, against transformers' generate and llama.cpp on the same machine.

All run the same network (shape S, random weights) on the same prompts, greedily, and never stop
early. Contenders take turns, each time in a process of its own; the median of the rounds counts.
"""

from __future__ import annotations

import dataclasses
import json
import statistics
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from tool.benchmarks.machine import machine_facts, machine_sentence
from tool.benchmarks.own_process import Failure, run_apart
from tool.benchmarks.shapes import SHAPES
from tool.conversion.llama_cpp import is_installed
from tool.evaluation.answering import ANSWERING, AnsweringJob, AnsweringSpeed, write_llama_files
from tool.settings import DecodingSpeedConfig


def compare_decoding_speed(config: DecodingSpeedConfig) -> int:
    """Measures, prints a table and, last, all of it as one line of JSON.

    Returns:
        0, or 1 when a contender failed.
    """
    machine = machine_facts(config.device)
    print(machine_sentence(machine), flush=True)
    names = [name for name in ANSWERING if config.compiled or name != "transformers compiled"]
    if not is_installed():
        print("llama.cpp is left out: pip install xllamacpp to measure it too")
        names = [name for name in names if not name.startswith("llama.cpp")]
    results: dict[str, list[AnsweringSpeed]] = {name: [] for name in names}
    failures: dict[str, str] = {}
    with TemporaryDirectory() as folder:
        if is_installed():
            write_llama_files(Path(folder), config.seed)
        for number in range(1, config.rounds + 1):
            for name in [name for name in names if name not in failures]:
                found = run_apart(ANSWERING[name], AnsweringJob(name, folder, config))
                if isinstance(found, Failure):
                    failures[name] = found.reason
                else:
                    results[name].append(found)
                    print(f"round {number}: {name} {found.one:,.0f} tokens/s", flush=True)
    medians = {name: median_of(rounds) for name, rounds in results.items() if rounds}
    print(table(medians, failures, config))
    report = {
        "benchmark": "decode",
        "machine": machine,
        "settings": dataclasses.asdict(config),
        "shape": dataclasses.asdict(SHAPES["S"].model),
        "tokens_per_second": {n: dataclasses.asdict(m) for n, m in medians.items()},
        "rounds": {n: [dataclasses.asdict(r) for r in rounds] for n, rounds in results.items()},
        "failures": failures,
    }
    print(json.dumps(report))
    return int(bool(failures))


def median_of(rounds: Sequence[AnsweringSpeed]) -> AnsweringSpeed:
    """The median of each figure."""
    columns = zip(*(dataclasses.astuple(speed) for speed in rounds), strict=True)
    return AnsweringSpeed(*(statistics.median(column) for column in columns))


def table(
    medians: dict[str, AnsweringSpeed], failures: dict[str, str], config: DecodingSpeedConfig
) -> str:
    """The medians, for people."""
    first = next(iter(medians.values()), None)
    lines = [
        f"\nshape S: {SHAPES['S'].sentence().rsplit(', ', 1)[0]}; prompts of "
        f"{config.prompt_tokens} tokens, answers of {config.new_tokens}, {config.threads} threads; "
        f"tokens/s of whole calls; in brackets: times {next(iter(medians), '')}",
        f"{'':24} {'one answer':>18} {f'{config.streams} at once':>18} {'reading a prompt':>18}",
    ]
    for name, speed in medians.items():
        assert first
        cells = [
            f"{value:>9,.0f} ({value / other:>4.2f}x)"
            for value, other in zip(
                dataclasses.astuple(speed), dataclasses.astuple(first), strict=True
            )
        ]
        lines.append(f"{name:24} {cells[0]:>18} {cells[1]:>18} {cells[2]:>18}")
    lines += [f"{name:24} failed: {reason}" for name, reason in failures.items()]
    return "\n".join(lines)
