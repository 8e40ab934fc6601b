"""What a run measures: bits per byte on the validation records, and samples.

Bits per byte is the loss in bits over the number of UTF-8 bytes it pays for. It does not depend on
the tokenizer, so runs with different vocabularies can be compared. Control tokens count neither as
bits nor as bytes.

Samples begin like the first validation record of each script: a text by its first tokens, a
conversation by all that stands before the first answer. Greedy, so that two runs can be compared.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from config import SamplingConfig, UserError
from inference.engine.engine import generate_batch
from model.tokenizer import EtudeTokenizer
from model.transformer import Etude
from train.data.batches import IGNORED, ChosenRows, StreamRows, TokenRows
from train.data.documents import Documents
from train.data.packing import packed_rows, trainable
from train.distributed import World
from train.objective import Objective, SummedLoss, prepare_all

ROWS_AT_ONCE = 16
"""Validation rows in a forward pass of one process."""
TEXT_PROMPT = 8
"""Tokens that a text is begun with."""


@dataclass(frozen=True)
class ValidationGroup:
    """The validation documents of one script (han, latin, other)."""

    rows: TokenRows
    num_bytes: int
    """UTF-8 bytes of the trained text in the rows."""


def validation_groups(
    validation: Mapping[str, Documents],
    max_length: int,
    tokenizer: EtudeTokenizer,
    cross_documents: bool,
    max_bytes: int,
) -> dict[str, ValidationGroup]:
    """Rows of the validation documents of each script. Every token of a text counts once;
    conversations count their answers, as far as a row reaches. Of more than about max_bytes of
    text, evenly spread rows are taken.

    Raises:
        UserError: no answer begins within a row.
    """
    groups = {}
    for script, documents in sorted(validation.items()):
        make = stream_rows if documents.mask is None else conversation_rows
        group = make(documents, max_length, tokenizer, cross_documents)
        if group.num_bytes:
            groups[script] = group
    if validation and not groups:
        raise UserError(
            f"no trained answer of the validation data begins within the first {max_length} tokens "
            "of its conversation: raise --max_length, or choose other records with "
            "--validation_every or --validation_files (--validation_every 0: none)"
        )
    share = max_bytes / max(1, sum(group.num_bytes for group in groups.values()))
    if share < 1:
        groups = {name: sampled(group, share, tokenizer) for name, group in groups.items()}
    return groups


def sampled(group: ValidationGroup, share: float, tokenizer: EtudeTokenizer) -> ValidationGroup:
    """An evenly spread share of a group's rows, with the bytes that these pay for."""
    count = max(1, round(share * len(group.rows)))
    rows = ChosenRows(group.rows, [n * len(group.rows) // count for n in range(count)])
    return ValidationGroup(rows, bytes_in(rows, tokenizer))


def bytes_in(rows: TokenRows, tokenizer: EtudeTokenizer) -> int:
    """UTF-8 bytes of the trained text in rows, counted token by token."""
    labels = (rows.batch([number]).labels for number in range(len(rows)))
    return sum(bytes_of(tokenizer, found[found != IGNORED].tolist()) for found in labels)


def stream_rows(
    documents: Documents, max_length: int, tokenizer: EtudeTokenizer, cross_documents: bool
) -> ValidationGroup:
    """Texts end to end, cut into rows; the last row is padded."""
    count = -(-(len(documents.tokens) - 1) // max_length)
    border = tokenizer.end_of_text_id
    untrained = tuple(tokenizer.control_ids)
    rows = StreamRows(
        max_length, border, cross_documents, documents.tokens, count, untrained=untrained
    )
    return ValidationGroup(rows, int(documents.table["num_bytes"].sum(dtype=np.int64)))


def conversation_rows(
    documents: Documents, max_length: int, tokenizer: EtudeTokenizer, cross_documents: bool
) -> ValidationGroup:
    """Conversations packed whole. One longer than a row keeps its beginning, and of its answers
    only the bytes in the row count."""
    kept = trainable(documents, max_length)
    control, border = tuple(tokenizer.control_ids), tokenizer.end_of_text_id
    rows = packed_rows(documents, kept, max_length, border, cross_documents, control)
    table = documents.table[kept]
    if (table["length"] > max_length + 1).any():
        return ValidationGroup(rows, bytes_in(rows, tokenizer))
    return ValidationGroup(rows, int(table["num_bytes"].sum(dtype=np.int64)))


def bytes_of(tokenizer: EtudeTokenizer, ids: Sequence[int]) -> int:
    """UTF-8 bytes that tokens stand for, also when they end inside a character: a byte-level token
    is written with one character for each of its bytes."""
    control = tokenizer.control_ids
    return sum(len(tokenizer.backend.id_to_token(i) or "") for i in ids if i not in control)


@torch.no_grad()
def bits_per_byte(
    loss: SummedLoss,
    groups: Mapping[str, ValidationGroup],
    world: World | None = None,
    stopped: Callable[[], bool] = lambda: False,
) -> dict[str, float] | None:
    """Bits per byte over all validation records ("all") and of each script.

    The products are float32 whatever the run's format is. Several processes share the rows. None:
    it was stopped before its end.
    """
    world = world or World()
    nats = {}
    for script, group in groups.items():
        total = torch.zeros((), dtype=torch.float64, device=world.device)
        for number in range(0, -(-len(group.rows) // ROWS_AT_ONCE), world.size):
            if world.any(stopped()):
                return None
            first = (number + world.rank) * ROWS_AT_ONCE
            chosen = range(first, min(first + ROWS_AT_ONCE, len(group.rows)))
            if not chosen and world.parallel == "fsdp":
                chosen = range(1)  # its forward is a collective: every process takes part
            if chosen:
                batch = group.rows.batch(chosen).to(world.device)
                part = loss(batch.input_ids, batch.labels, batch.document_ids, exact=True)
                total += part * (first < len(group.rows))
        nats[script] = float(world.sum(total))
    num_bytes = sum(group.num_bytes for group in groups.values())
    result = {"all": sum(nats.values()) / math.log(2) / num_bytes}
    for script, group in groups.items():
        result[script] = nats[script] / math.log(2) / group.num_bytes
    return result


def evaluation_seconds(
    loss: SummedLoss, groups: Mapping[str, ValidationGroup], world: World
) -> float:
    """About the seconds that `bits_per_byte` will take, by the first rows of each script."""
    at_once = ROWS_AT_ONCE * world.size
    first = {
        script: ValidationGroup(ChosenRows(group.rows, range(min(at_once, len(group.rows)))), 1)
        for script, group in groups.items()
    }
    for _ in range(2):  # the first warms up
        began = time.perf_counter()
        bits_per_byte(loss, first, world)
        taken = time.perf_counter() - began
    rows = sum(len(group.rows) for group in groups.values())
    return taken * rows / sum(len(group.rows) for group in first.values())


@torch.no_grad()
def held_out_metrics(
    loss: SummedLoss,
    objective: Objective,
    held_out: Sequence[TokenRows],
    world: World,
    stopped: Callable[[], bool] = lambda: False,
) -> dict[str, float] | None:
    """An objective's metrics over held-out rows, as over one step of all of them, with products in
    float32. Several processes share the rows. None: it was stopped before its end."""
    batches, log_probs = [], []
    for rows in held_out:
        for number in range(0, -(-len(rows) // ROWS_AT_ONCE), world.size):
            if world.any(stopped()):
                return None
            first = (number + world.rank) * ROWS_AT_ONCE
            chosen = range(first, min(first + ROWS_AT_ONCE, len(rows)))
            batch = rows.batch(chosen or range(1)).to(world.device)
            if not chosen:  # every process takes part in what all do, with nothing to add
                batch.labels.fill_(IGNORED)
            batches.append(batch)
            log_probs.append(-loss(*batch.inputs, exact=True, per_token=True))

    def total(parts: list[torch.Tensor]) -> torch.Tensor:
        return world.sum(torch.stack(parts).sum(dim=0))

    prepared = prepare_all(objective, batches, log_probs, total)
    sums = total([metrics for _, metrics in prepared if metrics is not None])
    counts = [objective.normaliser(batch) for batch in batches]
    count = total([part for part in counts if part is not None])
    return dict(zip(objective.metrics, (sums / count).tolist(), strict=True))


def sample_prompts(
    validation: Mapping[str, ValidationGroup], tokenizer: EtudeTokenizer, is_chat: bool
) -> list[list[int]]:
    """The prompts of a run, one a script, as token ids; none ends inside a character."""
    prompts = []
    for group in validation.values():
        batch = group.rows.batch([0])
        ids, labels = batch.input_ids[0].tolist(), batch.labels[0].tolist()
        trained = (n for n, label in enumerate(labels) if label != IGNORED)
        length = next(trained, 0) + (1 if is_chat else TEXT_PROMPT)
        while length < len(ids) and tokenizer.decode(ids[:length]).endswith("\ufffd"):
            length += 1
        prompts.append(ids[:length])
    return prompts


def generate_samples(
    model: Etude,
    tokenizer: EtudeTokenizer,
    prompts: Sequence[list[int]],
    max_tokens: int,
    is_chat: bool,
    stopped: Callable[[], bool] = lambda: False,
) -> list[dict[str, str]]:
    """Continues every prompt greedily; a prompt and its continuation each, as text. Empty: it was
    stopped before its end."""
    room = model.config.max_position_embeddings - max_tokens
    fitting = [prompt[-room:] if room > 0 else prompt[-1:] for prompt in prompts]
    stop_ids = tokenizer.end_ids(is_chat)
    sampling = SamplingConfig(temperature=0.0, max_tokens=max_tokens)
    # On torch, whatever is compiled on this machine: the samples are in the exact log.
    made = generate_batch(model, fitting, sampling, stop_ids, native=False, stopped=stopped)
    return [
        {"prompt": tokenizer.decode(prompt), "text": tokenizer.decode(generation.ids)}
        for prompt, generation in zip(fitting, made, strict=False)
    ]
