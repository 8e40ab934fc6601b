"""What a run will cost, said before it starts."""

from __future__ import annotations

import math
import time

import torch

from config import ModelConfig, TrainConfig
from train.objective import summed_loss
from train.provenance import describe_machine
from train.stage import Stage

COMPILED_SHARE = 0.75
"""Time of a compiled step as a share of an uncompiled one, optimizer and evaluation included."""
PROBED_ROWS = 4


def announcement(stage: Stage, device: torch.device, step: int, total: int) -> str:
    """What will happen: size, data, steps, memory, time; and where a run that continues stands."""
    config, model, vocab_size = stage.config, stage.model, stage.model.config.vocab_size
    tokens = (total - step) * config.batch_size * config.max_length
    seconds = tokens * seconds_per_token(stage, device)
    memory = estimated_bytes(model.config, config, model.num_parameters())
    validation = sum(group.num_bytes for group in stage.validation.values())
    passes = total * config.batch_size / len(stage.rows)
    lines = [
        f"{stage.name}: {model.num_parameters() / 1e6:.2f}M parameters, vocabulary {vocab_size}, "
        f"on {describe_machine(device)}",
        f"  data: {stage.packing.sentence()}; validation: {validation:,} bytes",
        f"  plan: {total} steps of {config.batch_size} x {config.max_length} tokens "
        f"({passes:.2f} passes), {config.optimizer}, {config.dtype}; "
        f"about {memory / 1e9:.1f} GB and {duration(seconds)}",
    ]
    if step:
        lines.append(f"  continuing at step {step} of {total}")
    elif stage.name == "pretrain":
        expected = math.log(vocab_size)
        lines.append(f"  the first loss should be near ln({vocab_size}) = {expected:.2f}")
    return "\n".join(lines)


def seconds_per_token(stage: Stage, device: torch.device) -> float:
    """Time to train one token, measured on a few rows of the run's own data."""
    count = min(PROBED_ROWS, stage.config.batch_size // stage.config.gradient_accumulation_steps)
    batch = stage.rows.batch([n % len(stage.rows) for n in range(count)]).to(device)
    dtype: torch.dtype = getattr(torch, stage.config.dtype)
    best = math.inf
    for _ in range(3):  # the first warms up
        begin = time.perf_counter()
        loss = summed_loss(stage.model, batch.input_ids, batch.labels, batch.document_ids, dtype)
        loss.backward()  # type: ignore[no-untyped-call]
        loss.item()  # waits for the device
        best = min(best, time.perf_counter() - begin)
    stage.model.zero_grad(set_to_none=True)
    share = COMPILED_SHARE if stage.config.compile else 1.0
    return share * best / (count * stage.config.max_length)


def estimated_bytes(config: ModelConfig, training: TrainConfig, num_parameters: int) -> int:
    """Memory of weights, gradients, optimizer state and one micro-batch's activations, in bytes of
    float32."""
    rows = training.batch_size // training.gradient_accumulation_steps
    tokens = rows * training.max_length
    state = 3 if training.optimizer == "muon" else 4  # weights, gradients, one or two moments
    per_layer = 10 * config.hidden_size + 4 * config.intermediate_size
    logits = 3 * config.vocab_size
    return 4 * (state * num_parameters + tokens * (config.num_hidden_layers * per_layer + logits))


def duration(seconds: float) -> str:
    """Seconds as people say them: 42 s, 7 min, 3.5 h."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"
