"""What a run tells of itself: to its logs, to the progress bar, to the console."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Mapping
from typing import Any

import torch
from tqdm import tqdm

from train.distributed import World
from train.memory import memory_in_use
from train.precision import matmul_speed
from train.run.metrics import RunLog
from train.run.plan import duration, flops_per_token
from train.run.writers import make_writers
from train.stage import Stage


class Journal:
    """The voice of a run. Every process has one, for its clock; only the main one's speaks."""

    def __init__(self, stage: Stage, world: World, step: int, total: int, seconds: float) -> None:
        """Goes on at a step of total, after the seconds that earlier starts took."""
        self.stage, self.world = stage, world
        self.first_step, self.total, self.earlier_seconds = step, total, seconds
        self.bits_per_byte: dict[str, float] = {}
        """Of the last evaluation."""
        dtype = getattr(torch, stage.config.dtype)
        self.peak = matmul_speed(world.device, dtype) * world.size
        """Operations a second of a matrix product here, measured."""
        self.log = self.open_log() if world.is_main else None
        self.began = self.last = time.perf_counter()
        silent = None if world.is_main else True  # None: where there is a terminal
        self.bar: tqdm[Any] = tqdm(
            total=total, initial=step, desc=stage.name, unit="step", disable=silent
        )

    def open_log(self) -> RunLog:
        """The run's logs, continued at its first step."""
        directory, step = self.stage.output_dir, self.first_step
        name = f"{self.stage.name} {directory.name}"
        settings = dict(self.stage.identity.settings)
        writers = make_writers(self.stage.config.log_to, directory, name, settings)
        return RunLog(directory, step, writers)

    @property
    def seconds(self) -> float:
        """Seconds of training over all starts of the run, compiling and evaluating included."""
        return self.earlier_seconds + time.perf_counter() - self.began

    def tokens_at(self, step: int) -> int:
        """Positions trained after a step."""
        return step * self.stage.config.batch_size * self.stage.config.max_length

    def resume_clock(self) -> None:
        """What happened since the last step (an evaluation, a save) is not a step's time."""
        self.last = time.perf_counter()

    def tell_step(self, record: Mapping[str, Any]) -> None:
        """A step, by its record."""
        now = time.perf_counter()
        speed = self.tokens_at(1) / (now - self.last)
        self.last = now
        if self.log:
            self.log.write(exact_fields(record, self.tokens_at(record["step"])), self.cost(speed))
        shown = {"loss": f"{record['loss']:.3f}", "tok/s": f"{speed:,.0f}"}
        if self.bits_per_byte:
            shown["bpb"] = f"{self.bits_per_byte['all']:.3f}"
        self.bar.set_postfix(shown, refresh=False)
        self.bar.update()

    def cost(self, speed: float) -> dict[str, float]:
        """What depends on the machine, for metrics.jsonl."""
        flops = flops_per_token(self.stage.model.config, self.stage.config.max_length)
        return {
            "tokens_per_second": round(speed),
            "share_of_peak": round(speed * flops / self.peak, 3),
            "memory_gb": round(memory_in_use(self.world.device) / 1e9, 2),
            "seconds": round(self.seconds, 1),
        }

    def tell_evaluation(
        self, step: int, bits_per_byte: dict[str, float], samples: list[dict[str, str]]
    ) -> None:
        """An evaluation: bits per byte over all ("all") and by script, and what the model says."""
        self.bits_per_byte = bits_per_byte
        if not self.log:
            return
        at = {"step": step, "tokens": self.tokens_at(step)}
        seconds = {"seconds": round(self.seconds, 1)}
        named = {
            "bits_per_byte" if name == "all" else f"bits_per_byte_{name}": value
            for name, value in bits_per_byte.items()
        }
        self.log.write({**at, **named}, seconds)
        if samples:
            self.log.write({**at, "samples": samples}, seconds)
        groups = "  ".join(f"{n} {v:.3f}" for n, v in bits_per_byte.items() if n != "all")
        self.say(f"step {step:>6}  validation {bits_per_byte['all']:.3f} bits per byte  ({groups})")
        for sample in samples:
            self.say(f"             {one_line(sample['prompt'])} | {one_line(sample['text'])}")

    def say(self, line: str) -> None:
        """A line on the console, above the progress bar."""
        if self.world.is_main:
            self.bar.write(line, file=sys.stdout)

    def tell_end(self, step: int) -> None:
        """What was done by this start of the run."""
        seconds, steps = time.perf_counter() - self.began, step - self.first_step
        tokens = self.tokens_at(steps)
        speed = f" in {duration(seconds)} ({tokens / seconds:,.0f} tokens/s)" if steps else ""
        self.say(
            f"{self.stage.name} done: {step} steps, {self.tokens_at(step) / 1e6:.2f}M "
            f"tokens{speed}, "
            f"{self.bits_per_byte['all']:.3f} bits per byte; the model is in "
            f"{self.stage.output_dir}"
        )

    def close(self) -> None:
        """Ends the bar and the logs."""
        self.bar.close()
        if self.log:
            self.log.close()


def exact_fields(record: Mapping[str, Any], tokens: int) -> dict[str, Any]:
    """What loss_log.jsonl holds of a step; a number that is not finite becomes null, for JSON has
    no NaN."""
    exact: dict[str, Any] = {"step": record["step"], "tokens": tokens}
    for name in ("loss", "grad_norm"):
        exact[name] = record[name] if math.isfinite(record[name]) else None
    exact["learning_rate"] = record["learning_rate"]
    exact["trained_tokens"] = round(record["trained_tokens"])
    if record["skipped"]:
        exact |= {"skipped": True, "skipped_steps": round(record["skipped_steps"])}
    return exact


def one_line(text: str, longest: int = 200) -> str:
    """A text in one line of the console."""
    flat = " ".join(text.split())
    return flat if len(flat) <= longest else flat[:longest] + "..."
