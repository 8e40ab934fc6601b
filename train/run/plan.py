"""What a run will cost, said before it starts."""

from __future__ import annotations

import math
import time

import torch

from config import ModelConfig, TrainConfig
from model.adapters import trained_parameters
from model.frozen import saved_bytes
from model.transformer import Etude
from train.data.batches import TokenRows
from train.distributed import World
from train.machine import describe_machine
from train.objective import CHUNK_ELEMENTS, SummedLoss
from train.stage import Stage

COMPILED_SHARE = 0.65
"""Time of a compiled step as a share of an uncompiled one, optimizer and evaluation included."""
FIRST_PASS = 1.5
"""Time of a step with a first pass, in steps without one."""
PROBED_ROWS = 4
OWN_BYTES = 600_000_000
"""What PyTorch and its compiler take before there is a model."""


def announcement(stage: Stage, world: World, step: int, total: int, seconds: float = 0.0) -> str:
    """What will happen: size, data, steps, memory, time; and where a run that continues stands,
    after so many seconds of training."""
    model, vocab_size = stage.model, stage.model.config.vocab_size
    count, active = model.num_parameters(), model.active_parameters()
    of_each = f", {active / 1e6:.2f}M of them for a token" if active < count else ""
    processes = f", {world.size} processes ({world.parallel})" if world.size > 1 else ""
    lines = [
        f"{stage.name}: {count / 1e6:.2f}M parameters{of_each}, vocabulary {vocab_size}, "
        f"on {describe_machine(world.device)}{processes}",
        f"  data: {data_sentence(stage)}",
        f"  plan: {plan_sentence(stage, world, step, total, seconds)}",
    ]
    if stage.adapter:
        lines.append(f"  {stage.adapter.sentence(model)}")
    lines += [f"  note: {note}" for note in stage.notes]
    if step:
        lines.append(f"  continuing at step {step} of {total}")
    elif expectation := stage.objective.expectation:
        lines.append(f"  the first loss should be {expectation}")
    elif stage.name == "pretrain" and not stage.config.init_from:
        expected = math.log(vocab_size)
        lines.append(f"  the first loss should be near ln({vocab_size}) = {expected:.2f}")
    return "\n".join(lines)


def data_sentence(stage: Stage) -> str:
    """What is trained on, and what is measured, in one line."""
    if stage.rollouts:
        return stage.rollouts.prompts.sentence()
    num_bytes = sum(group.num_bytes for group in stage.validation.values())
    measured = f"{num_bytes:,} bytes" if stage.validation else "none"
    return f"{stage.packing.sentence()}; validation: {measured}"


def plan_sentence(stage: Stage, world: World, step: int, total: int, seconds: float) -> str:
    """Steps, optimizer, format, memory and time in one line."""
    config = stage.config
    shape = stage.model.config
    if stage.rollouts:  # how long answers will be, and so the time, is not known
        return f"{stage.rollouts.plan(total)}, {config.optimizer}, {config.dtype}"
    parameters, trained = stage.model.num_parameters(), trained_parameters(stage.model)
    memory = estimated_bytes(shape, config, parameters, world.size, trained)
    memory -= saved_bytes(stage.model)
    steps, time = steps_and_time(stage, world, step, total, seconds)
    passes = steps * config.batch_size / stage.rows.epoch_rows
    about = "about " if steps < total else ""
    return (
        f"{about}{steps} steps of {config.batch_size} x {config.max_length} tokens "
        f"({passes:.2f} passes), {config.optimizer}, {config.dtype}; "
        f"about {memory / 1e9:.1f} GB{time}"
    )


def steps_and_time(
    stage: Stage, world: World, step: int, total: int, seconds: float
) -> tuple[int, str]:
    """The steps of the whole run, fewer than total where --max_minutes will end it, and the time
    that is left. Nothing is measured with FSDP, whose model may not fit one device."""
    config, limit = stage.config, stage.config.max_minutes
    if world.shards:
        return total, f" and at most {limit:g} min" if limit else ""
    tokens = config.batch_size * config.max_length / world.size
    a_step = tokens * seconds_per_token(stage.model, stage.rows, config, world.device)
    a_step *= FIRST_PASS if stage.objective.first_pass else 1
    left = 60 * limit - seconds if limit else math.inf
    if left < (total - step) * a_step:
        return step + max(1, round(left / a_step)), f" and {duration(left)}"
    return total, f" and {duration((total - step) * a_step)}"


def seconds_per_token(
    model: Etude, rows: TokenRows, config: TrainConfig, device: torch.device
) -> float:
    """Time to train one token, measured on a few rows of the run's own data (on a GPU on a whole
    micro-batch, for it is not filled by less)."""
    count = config.batch_size // config.gradient_accumulation_steps
    if device.type == "cpu":
        count = min(PROBED_ROWS, count)
    batch = rows.batch([n % len(rows) for n in range(count)]).to(device)
    loss = SummedLoss(model, getattr(torch, config.dtype))
    best = math.inf
    for _ in range(3):  # the first warms up
        begin = time.perf_counter()
        total = loss(batch.input_ids, batch.labels, batch.document_ids)
        total.backward()
        total.item()  # waits for the device
        best = min(best, time.perf_counter() - begin)
    model.zero_grad(set_to_none=True)
    share = COMPILED_SHARE if config.compile else 1.0
    return share * best / (count * config.max_length)


def estimated_bytes(
    config: ModelConfig,
    training: TrainConfig,
    num_parameters: int,
    world_size: int = 1,
    trained: int | None = None,
) -> int:
    """Memory of one process: PyTorch itself, weights, gradients, optimizer state, and one
    micro-batch's activations, attention weights and logits. FSDP shares weights, gradients and
    state among the processes. Of an adapter's run, only the trained weights have gradients and
    state; None: all are."""
    rows = -(-training.batch_size // (training.gradient_accumulation_steps * world_size))
    tokens = rows * training.max_length
    trained = num_parameters if trained is None else trained
    state = 2 if training.optimizer == "muon" else 3  # gradients, one or two moments
    numbers = num_parameters + state * trained
    shared = world_size if training.parallel == "fsdp" else 1
    float_bytes = 2.4 if training.dtype in ("bfloat16", "float16") else 4.0  # some stay float32
    heads = config.num_attention_heads * config.head_size
    # A token's, in one layer; an expert's rows are copies, in and out.
    activation = 10 * config.hidden_size + 4 * (heads - config.hidden_size)
    activation += 4 * config.intermediate_size
    if config.num_experts:
        sizes = 4 * config.expert_size + 3 * config.hidden_size
        activation += max(0, config.num_experts_per_tok * sizes - 4 * config.intermediate_size)
    # A CPU keeps the weights of attention, a little more than half of them with causal blocks.
    activation += round(0.6 * config.num_attention_heads * training.max_length)
    layers, kept = config.num_hidden_layers, 0
    if training.gradient_checkpointing:
        layers, kept = 1, 4 * config.num_hidden_layers * config.hidden_size
    logits = 3 * min(tokens * config.vocab_size, CHUNK_ELEMENTS["cpu"])
    in_step = tokens * (float_bytes * layers * activation + kept) + 4 * logits
    return round(OWN_BYTES + 4 * numbers / shared + in_step)


def flops_per_token(config: ModelConfig, max_length: int) -> int:
    """Floating-point operations to train on one token: 6 for each weight of a matrix product that
    it takes part in (forward 2, backward 4; arXiv 2001.08361), of the experts those that it
    chooses, and 12 * layers * width of the heads for each position that attention's two products
    see, which is half of the row on average, less with a sliding window."""
    layers, hidden = config.num_hidden_layers, config.hidden_size
    heads = config.num_attention_heads * config.head_size
    sparse = sum(config.has_experts(layer) for layer in range(layers))
    weights = layers * 2 * hidden * (heads + config.num_key_value_heads * config.head_size)
    weights += (layers - sparse) * 3 * hidden * config.intermediate_size
    chosen = 3 * config.num_experts_per_tok * config.expert_size
    weights += sparse * hidden * (chosen + config.num_experts) + hidden * config.vocab_size
    window = min(max_length, config.sliding_window or max_length)
    seen = window - window * window // (2 * max_length)
    return 6 * weights + 12 * layers * heads * seen


def duration(seconds: float) -> str:
    """Seconds as people say them: 42 s, 7 min, 3.5 h."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"
