"""Training transformers' model against the clock, and measuring models on the validation records.

Both run in processes of their own (`measuring.py`); Etude's side is the trainer itself.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from transformers import LlamaForCausalLM

from config import ModelConfig, PretrainConfig, UserError
from model.device import pick_device
from model.directory.pretrained import load_pretrained
from model.tokenizer import EtudeTokenizer
from model.transformer import Etude
from tool.benchmarks.contenders import LlamaRecipe, LlamaTraining, build_llama
from train.data.batches import Prefetch, RowOrder, TokenRows, step_batches
from train.data.packing import concatenate
from train.data.token_files import tokenise_texts
from train.distributed import World
from train.evaluation import ValidationGroup, bits_per_byte, validation_groups
from train.objective import SummedLoss
from train.optimizer import lr_scale

TICKS = 1_000
"""The clock's parts: the schedule counts in them as it would in steps."""


@dataclass(frozen=True)
class TextData:
    """The texts, for training and for measuring."""

    files: tuple[Path, ...]
    tokenizer_dir: Path
    cache_dir: Path
    validation_every: int
    max_length: int

    def read(self) -> tuple[TokenRows, dict[str, ValidationGroup], EtudeTokenizer]:
        """Rows to train on, rows to measure with, and the tokenizer.

        Raises:
            UserError: a file is missing or malformed, or there is too little text.
        """
        tokenizer = EtudeTokenizer.load(self.tokenizer_dir)
        data = tokenise_texts(self.files, tokenizer, self.validation_every, self.cache_dir)
        rows, _ = concatenate(data.train, self.max_length, tokenizer.end_of_text_id)
        groups = validation_groups(
            data.validation, self.max_length, tokenizer, True, PretrainConfig().validation_bytes
        )
        return rows, groups, tokenizer


@dataclass(frozen=True)
class ClockedJob:
    """One run of transformers."""

    data: TextData
    model: ModelConfig
    """Its vocabulary is the tokenizer's, whatever stands here."""
    recipe: LlamaRecipe
    config: PretrainConfig
    """Rate, schedule, batch; the data's order."""
    minutes: float
    measurements: int
    """Measurements along the way, the last one at the end."""
    device: str


@dataclass(frozen=True)
class Point:
    """A measurement in a run."""

    seconds: float
    tokens: int
    bits_per_byte: float


def train_llama(job: ClockedJob) -> list[Point]:
    """Trains transformers' model until the time is over; its measurements, the last one at the
    end. A run that diverges ends early, with bits per byte that are infinite.

    Raises:
        UserError: the data cannot be used, or there is no such device.
    """
    device = pick_device(job.device)
    rows, groups, tokenizer = job.data.read()
    model = ModelConfig(**{**vars(job.model), "vocab_size": len(tokenizer)})
    torch.manual_seed(job.config.seed)  # transformers draws initial weights from it alone
    llama = build_llama(model, job.recipe.attention, device)
    measure = partial(measure_llama, llama, Etude(model).to(device), groups, device)
    step = LlamaTraining(llama, job.recipe, job.config)
    order = RowOrder(len(rows), job.config.batch_size, job.config.seed)
    batches = Prefetch(partial(step_batches, rows, order, job.config, World(device=device)))
    try:
        return run_clocked(job, step, batches, measure)
    finally:
        batches.close()


def run_clocked(
    job: ClockedJob, step: LlamaTraining, batches: Prefetch, measure: Callable[[], float]
) -> list[Point]:
    """The loop of `train_llama`; only steps count as time, compiling included, not measuring."""
    limit, points = 60 * job.minutes, list[Point]()
    step_tokens = job.config.batch_size * job.config.max_length
    number = measured = 0
    seconds = start = 0.0
    while seconds < limit:
        began = time.perf_counter()
        rate = learning_rate(job.config, (seconds - start) / (limit - start))
        for group in step.optimizer.param_groups:
            group["lr"] = rate
        loss = float(step(batches(number)[0].to(step.device)))
        number += 1
        seconds += time.perf_counter() - began
        if number == 1:
            start = seconds  # it may have compiled, which must not use up the warm-up
        if not math.isfinite(loss):
            return [*points, Point(seconds, number * step_tokens, math.inf)]
        due = int(job.measurements * min(1.0, seconds / limit))
        if due > measured:
            points.append(Point(seconds, number * step_tokens, measure()))
            measured = due
    return points


def learning_rate(config: PretrainConfig, share: float) -> float:
    """The rate where a share of the time is over."""
    return config.learning_rate * lr_scale(share * (TICKS - 1), TICKS, config)


def measure_llama(
    llama: LlamaForCausalLM, etude: Etude, groups: dict[str, ValidationGroup], device: torch.device
) -> float:
    """Bits per byte of transformers' weights, by the code that measures Etude: the names of the
    weights are the same."""
    etude.load_state_dict(llama.state_dict())
    return measure_etude(etude, groups, device)


def measure_etude(etude: Etude, groups: dict[str, ValidationGroup], device: torch.device) -> float:
    """Bits per byte of a model on the validation records."""
    measured = bits_per_byte(SummedLoss(etude), groups, World(device=device))
    assert measured is not None  # nothing stops it
    return measured["all"]


def measure_directory(directory: Path, data: TextData, device_name: str) -> float:
    """Bits per byte of a model directory on the validation records.

    Raises:
        UserError: the directory holds no model of the data's tokenizer.
    """
    device = pick_device(device_name)
    model, own = load_pretrained(directory, device)
    _, groups, tokenizer = data.read()
    if own.fingerprint != tokenizer.fingerprint:
        raise UserError(f"{directory}: it was trained with another tokenizer; remove it")
    return measure_etude(model, groups, device)
