"""The logs of a run: two files of one JSON object a line, the progress bar, the console.

`loss_log.jsonl` holds what is exact (step, loss, gradient norm, bits per byte, samples): it is
byte-identical however often the run was interrupted. `metrics.jsonl` holds the same and what
depends on the machine: tokens per second, the share of the matrix-product peak that they use,
memory, seconds of training over all starts, and the processor's seconds in all threads of this one.
"""

from __future__ import annotations

import json
import math
import os
import sys
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

import torch
from tqdm import tqdm

from config import UserError
from model.directory.storage import explained, replace_file, text_writer
from terminal import is_screen
from train.distributed import World
from train.machine import matmul_speed, memory_in_use
from train.run.plan import duration, flops_per_token
from train.run.writers import MetricsWriter, make_writers, switched_off_on_failure
from train.stage import Stage
from train.step import RECORD

BAR = "{desc} {n_fmt}/{total_fmt} |{bar}| {remaining}{postfix}"
"""Cut from its end on a narrow terminal; the description holds the loss."""
LINES, LINE_EVERY_S = 20, 60
"""Where there is no bar: lines over the whole run, and seconds after which one comes anyway."""
LOSS_LOG = "loss_log.jsonl"
METRICS = "metrics.jsonl"
HELD_OUT = "validation_"
"""Before the names of what is measured on held-out data."""
WATCH = "watch "
"""Before the title of a score of a watched file."""
MUON_RATE = "muon_learning_rate"
"""In metrics.jsonl only: a multiple of the learning rate in the exact log."""
ROLLOUT = "rollout_seconds"
"""In metrics.jsonl only: the part of a step's time in which answers were made and rewarded."""


def read_log(path: Path) -> list[dict[str, Any]]:
    """The lines of a log. A last line without its end is passed over: the run is writing it just
    now, or a crash tore it.

    Raises:
        UserError: a line is no JSON object; it is named.
    """
    lines = []
    for number, line in enumerate(path.read_bytes().split(b"\n")[:-1], start=1):
        fields = fields_of(line)
        if fields is None:
            raise UserError(
                f"{path}:{number}: not a line of a training log; the file is damaged, remove the "
                "line"
            )
        lines.append(fields)
    return lines


class LogFiles:
    """The two logs of a run, continued at a step, and where else its metrics go."""

    def __init__(
        self, directory: Path, step: int, writers: dict[str, MetricsWriter] | None = None
    ) -> None:
        """Opens the logs and takes away what was written after the checkpoint of `step`: every
        training line beyond it, and an evaluation at it, which is made again."""
        self.directory, self.writers = directory, writers or {}
        self.evaluations: dict[int, float] = {}
        """Of each evaluation the loss on held-out data where the objective has its own, or the
        share of right answers, negative; else bits per byte. The least is the best."""
        self.files: dict[str, IO[str]] = {}
        self.lines_sent = 0
        """Lines of metrics.jsonl that the writers have got."""
        for name in (LOSS_LOG, METRICS):
            path = directory / name
            kept = kept_lines(path, step) if path.exists() else []
            if path.exists():
                replace_file(path, text_writer("".join(f"{line}\n" for line in kept)))
            if found := missing_steps(map(json.loads, kept), step):
                print(f"{path}: {found}. It was changed from outside; it is continued as it is")
            self.files[name] = path.open("a", encoding="utf-8", newline="\n")
        for fields in map(json.loads, kept):  # those of metrics.jsonl
            self.note(fields)

    def note(self, fields: Mapping[str, Any]) -> None:
        """Takes in a line of metrics.jsonl."""
        if "bits_per_byte" in fields:
            quality = fields.get(f"{HELD_OUT}loss") or fields["bits_per_byte"]
            self.evaluations[fields["step"]] = quality
        if f"{HELD_OUT}pass_at_1" in fields:
            self.evaluations[fields["step"]] = -fields[f"{HELD_OUT}pass_at_1"]
        for name, writer in list(self.writers.items()):
            with switched_off_on_failure(name, self.writers):
                writer.put(self.lines_sent, fields)
        self.lines_sent += 1

    def write(self, exact: Mapping[str, Any], measured: Mapping[str, Any] | None = None) -> None:
        """Appends one line to both logs."""
        lines = {LOSS_LOG: dict(exact), METRICS: {**exact, **(measured or {})}}
        with explained(self.directory):
            for name, fields in lines.items():
                self.files[name].write(json.dumps(fields, ensure_ascii=False) + "\n")
                self.files[name].flush()
        self.note(lines[METRICS])

    def best_step(self) -> int | None:
        """The step that was the best on held-out data so far."""
        return min(self.evaluations, key=self.evaluations.__getitem__, default=None)

    def sync(self) -> None:
        """Flushes the logs to disk, so that a checkpoint never knows more than they."""
        with explained(self.directory):
            for file in self.files.values():
                os.fsync(file.fileno())

    def close(self) -> None:
        """Closes the logs."""
        for file in self.files.values():
            file.close()
        for name, writer in list(self.writers.items()):
            with switched_off_on_failure(name, self.writers):
                writer.close()


def kept_lines(path: Path, step: int) -> list[str]:
    """The lines of a log up to a checkpoint. What cannot be read goes: at the end it was torn by a
    crash, and before that the disk has damaged it, and it is named."""
    kept: list[str] = []
    unreadable: list[int] = []
    for number, line in enumerate(path.read_bytes().split(b"\n")[:-1], start=1):
        fields = fields_of(line)
        if fields is None:
            unreadable.append(number)
            continue
        if fields["step"] > step or (fields["step"] == step and "loss" not in fields):
            break
        for damaged in unreadable:
            print(f"{path}:{damaged}: the line is damaged and is left out")
        unreadable = []
        kept.append(line.decode("utf-8"))
    return kept


def missing_steps(lines: Iterable[Mapping[str, Any]], step: int) -> str:
    """Which of the steps up to `step` have no line in a log, or more than one; empty when each has
    its own."""
    counts = Counter(fields["step"] for fields in lines if "loss" in fields)
    missing = [n for n in range(1, step + 1) if n not in counts]
    double = sorted(n for n, count in counts.items() if count > 1)
    kinds = (("without a line", missing), ("with several", double))
    return "; ".join(f"steps {what}: {ranges(steps)}" for what, steps in kinds if steps)


def ranges(numbers: Sequence[int], most: int = 5) -> str:
    """Ascending numbers in short: 3, 7-9, and so on."""
    spans: list[list[int]] = []
    for number in numbers:
        if spans and number == spans[-1][1] + 1:
            spans[-1][1] = number
        else:
            spans.append([number, number])
    shown = [str(a) if a == b else f"{a}-{b}" for a, b in spans[:most]]
    return ", ".join([*shown, "..."] if len(spans) > most else shown)


def fields_of(line: bytes) -> dict[str, Any] | None:
    """The fields of a log's line, or None when it is not a line of a log."""
    try:
        fields = json.loads(line.decode("utf-8"))
    except ValueError:
        return None
    is_line = isinstance(fields, dict) and isinstance(fields.get("step"), int)
    return fields if is_line else None


class RunLogger:
    """Console, progress bar and log files of a run. Every process has one, for its clock; only the
    main process prints and writes."""

    def __init__(self, stage: Stage, world: World, step: int, total: int, seconds: float) -> None:
        """Goes on at a step of total, after the seconds that earlier starts took."""
        self.stage, self.world = stage, world
        self.first_step, self.total, self.earlier_seconds = step, total, seconds
        self.bits_per_byte: dict[str, float] = {}
        """Of the last evaluation."""
        self.metrics: Mapping[str, float] = {}
        """What else that measured."""
        dtype = getattr(torch, stage.config.dtype)
        self.peak = matmul_speed(world.device, dtype) * world.size
        """Operations a second of a matrix product here, measured."""
        self.log = self.open_log() if world.is_main else None
        self.began = self.last = self.last_line = time.perf_counter()
        self.bar: tqdm[Any] = tqdm(
            total=total,
            initial=step,
            desc=stage.name,
            bar_format=BAR,
            dynamic_ncols=True,
            disable=not (world.is_main and is_screen(sys.stderr)),
        )

    def open_log(self) -> LogFiles:
        """The run's logs, continued at its first step."""
        directory, step = self.stage.output_dir, self.first_step
        name = f"{self.stage.name} {directory.name}"
        settings = dict(self.stage.identity.settings)
        writers = make_writers(self.stage.config.log_to, directory, name, settings)
        return LogFiles(directory, step, writers)

    @property
    def seconds(self) -> float:
        """Seconds of training over all starts of the run, compiling and evaluating included."""
        return self.earlier_seconds + time.perf_counter() - self.began

    def tokens_at(self, step: int) -> int:
        """Positions trained after a step."""
        return step * self.stage.tokens_per_step

    def resume_clock(self) -> None:
        """What happened since the last step (an evaluation, a save) is not a step's time."""
        self.last = time.perf_counter()

    def log_step(self, record: Mapping[str, Any]) -> None:
        """Logs a step's record."""
        now = time.perf_counter()
        tokens = record["trained_tokens"] if self.stage.rollouts else self.tokens_at(1)
        speed = tokens / (now - self.last)
        self.last = now
        if self.log:
            rate = {name: record[name] for name in (MUON_RATE, ROLLOUT) if name in record}
            exact = exact_fields(record, self.tokens_at(record["step"]))
            self.log.write(exact, {**rate, **self.cost(speed)})
        self.show(record["step"], record["loss"], speed)

    def show(self, step: int, loss: float, speed: float) -> None:
        """Shows a step: on the bar, or now and then in a line."""
        if not self.bar.disable:
            quality = f", {self.bits_per_byte['all']:.3f} bpb" if self.bits_per_byte else ""
            self.bar.set_description_str(f"{self.stage.name} loss {loss:.3f}", refresh=False)
            self.bar.set_postfix_str(f"{speed:,.0f} tok/s{quality}", refresh=False)
            self.bar.update()
            return
        done, seconds = step - self.first_step, self.last - self.began
        turn = done == 1 or step % max(1, self.total // LINES) == 0
        if turn or self.last - self.last_line >= LINE_EVERY_S:
            self.last_line = self.last
            at = f"step {step:>6} of {self.total}  loss {loss:.3f}"
            left = duration(seconds / done * (self.total - step))
            self.echo(f"{at}  {speed:,.0f} tokens/s, {left} left")

    def cost(self, speed: float) -> dict[str, float]:
        """What depends on the machine, for metrics.jsonl."""
        flops = flops_per_token(self.stage.model.config, self.stage.config.max_length)
        return {
            "tokens_per_second": round(speed),
            "share_of_peak": round(speed * flops / self.peak, 3),
            "memory_gb": round(memory_in_use(self.world.device) / 1e9, 2),
            "seconds": round(self.seconds, 1),
            "cpu_seconds": round(time.process_time(), 2),
        }

    def log_evaluation(
        self,
        step: int,
        bits_per_byte: dict[str, float],
        samples: list[dict[str, str]],
        metrics: Mapping[str, float],
        watched: Mapping[str, float] | None = None,
    ) -> None:
        """Logs an evaluation: bits per byte over all ("all") and by script, samples, what else was
        measured on held-out data, and by their titles the scores of watched files."""
        self.bits_per_byte, self.metrics = bits_per_byte, metrics
        if not self.log:
            return
        at = {"step": step, "tokens": self.tokens_at(step)}
        seconds = {"seconds": round(self.seconds, 1)}
        named = {
            "bits_per_byte" if name == "all" else f"bits_per_byte_{name}": value
            for name, value in bits_per_byte.items()
        }
        named |= {f"{HELD_OUT}{name}": value for name, value in metrics.items()}
        named |= {f"{WATCH}{title}": value for title, value in (watched or {}).items()}
        self.log.write({**at, **without_nan(named)}, seconds)
        if samples:
            self.log.write({**at, "samples": samples}, seconds)
        groups = "  ".join(f"{n} {v:.3f}" for n, v in bits_per_byte.items() if n != "all")
        if bits_per_byte:
            self.echo(
                f"step {step:>6}  validation {bits_per_byte['all']:.3f} bits per byte  ({groups})"
            )
        if metrics:
            self.echo(f"step {step:>6}  held out: {in_words(metrics)}")
            if remark := self.stage.objective.remark(metrics):
                self.echo(f"             {remark}")
        for title, value in (watched or {}).items():
            self.echo(f"step {step:>6}  watched: {title} {value:.3f}")
        for sample in samples:
            reward = f"  [{sample['reward']}]" if "reward" in sample else ""
            shown = f"{one_line(sample['prompt'])} | {one_line(sample['text'])}"
            self.echo(f"             {shown}{reward}")

    def echo(self, line: str) -> None:
        """A line on the console, above the progress bar."""
        if self.world.is_main:
            self.bar.write(line, file=sys.stdout)

    def log_end(self, step: int) -> None:
        """Prints what this start of the run did."""
        seconds, steps = time.perf_counter() - self.began, step - self.first_step
        tokens = self.tokens_at(steps)
        speed = f" in {duration(seconds)}" if steps else ""
        much = ""
        if not self.stage.rollouts:  # whose answers end when they end
            much = f", {self.tokens_at(step) / 1e6:.2f}M tokens"
            speed += f" ({tokens / seconds:,.0f} tokens/s)" if steps else ""
        self.echo(
            f"{self.stage.name} done: {step} steps{much}{speed}, "
            f"{in_words(self.metrics) or in_bits(self.bits_per_byte)}; the model is in "
            f"{self.stage.output_dir}"
        )

    def close(self) -> None:
        """Ends the bar and the logs."""
        self.bar.close()
        if self.log:
            self.log.close()


def exact_fields(record: Mapping[str, Any], tokens: int) -> dict[str, Any]:
    """What loss_log.jsonl holds of a step, the objective's metrics last; a number that is not
    finite becomes null, for JSON has no NaN."""
    finite = without_nan(record)
    exact = {
        "step": record["step"],
        "tokens": tokens,
        "loss": finite["loss"],
        "grad_norm": finite["grad_norm"],
        "learning_rate": record["learning_rate"],
        "trained_tokens": round(record["trained_tokens"]),
    }
    if record["skipped"]:
        exact |= {"skipped": True, "skipped_steps": round(record["skipped_steps"])}
    known = {"step", "learning_rate", MUON_RATE, ROLLOUT, *RECORD}
    return exact | {name: value for name, value in finite.items() if name not in known}


def without_nan(fields: Mapping[str, Any]) -> dict[str, Any]:
    """The numbers, those that are not finite as None."""
    return {name: value if math.isfinite(value) else None for name, value in fields.items()}


def in_bits(measured: Mapping[str, float]) -> str:
    """The result of an evaluation in words."""
    return f"{measured['all']:.3f} bits per byte" if measured else "not measured"


def in_words(metrics: Mapping[str, float]) -> str:
    """What was measured on held-out data."""
    return "  ".join(f"{name.replace('_', ' ')} {value:.3f}" for name, value in metrics.items())


def one_line(text: str, longest: int = 200) -> str:
    """A text in one line of the console."""
    flat = " ".join(text.split())
    return flat if len(flat) <= longest else flat[:longest] + "..."
