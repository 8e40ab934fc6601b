"""What learning from preferences brings: the pairs of files in folds, each of them kept out once.

A pair that was kept out counts as right when the trained model rewards its chosen answer more than
its rejected one. Beside it stand what needs no training (the longer answer, the likelier one), and
what it costs: bits per byte of the chosen answers that were kept out, and of other files.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from config import PreferenceLoss
from data_process.records.jsonl import Preference, read_pairs
from model.conversation import Conversation
from model.directory.pretrained import load_pretrained, weights_sha256
from model.directory.storage import jsonl_text, replace_file, text_writer
from tool.benchmarks.measuring import report, run_repository_script
from tool.evaluation.evaluation import RECORDS, measure_files, read_kept
from tool.settings import EvaluateConfig, PreferenceFoldsConfig
from train.data.packing import pack
from train.data.token_files import tokenised_data
from train.distributed import World
from train.measures.intervals import interval, paired_interval
from train.objectives.pairs import Reference
from train.run.start import refuse_long_rows

Numbers = NDArray[np.float64]
HEAD = ("", "right", "95%", "over the longer", "chosen, bits/byte", "files, bits/byte", "log p")
NOTHING = ("-",) * 3


@dataclass(frozen=True)
class Pairs:
    """The pairs that fit in a row, in the order of their files."""

    pairs: Sequence[Preference]
    before: Numbers
    """(pairs, 2) the log-probabilities of chosen and rejected, in nats, under the model to start
    from."""
    tokens: Numbers
    """(pairs, 2)."""
    folds: NDArray[np.int64]
    """(pairs,) which fold each is in; pairs of one prompt are in the same."""

    @property
    def longer(self) -> Numbers:
        """(pairs,) whether the chosen answer has more characters; a half where both have as
        many."""
        gaps = [len(chosen) - len(rejected) for _, (chosen, rejected), _ in self.pairs]
        return (np.sign(np.array(gaps, np.float64)) + 1) / 2

    @property
    def chosen_bytes(self) -> Numbers:
        """(pairs,) UTF-8 bytes of the chosen answer."""
        return np.array([len(pair.answers[0].encode()) for pair in self.pairs], np.float64)


def compare(config: PreferenceFoldsConfig) -> int:
    """Trains and measures; prints a table and, last, all of it as one line of JSON.

    Raises:
        UserError: a run failed, or a record is no pair.
    """
    config.output_dir.mkdir(parents=True, exist_ok=True)
    pairs = read(config)
    by_token = pairs.before / pairs.tokens
    rows = [
        ("the longer answer", *right(pairs.longer), "-", *NOTHING),
        ("the likelier answer", *right(first_is_larger(pairs.before), pairs.longer), *NOTHING),
        ("the likelier by token", *right(first_is_larger(by_token), pairs.longer), *NOTHING),
    ]
    for loss in config.losses:
        rows += [row(config, pairs, loss, rate) for rate in config.learning_rates]
    settings = dataclasses.asdict(config)
    report("preference", HEAD, rows, config.device, pairs=len(pairs.pairs), settings=settings)
    return 0


def first_is_larger(scores: Numbers) -> Numbers:
    """(pairs,) 1 where the first of (pairs, 2) scores is the larger."""
    return (scores[:, 0] > scores[:, 1]).astype(np.float64)


def right(outcomes: Numbers, others: Numbers | None = None) -> tuple[str, ...]:
    """The share of right pairs and its interval; with others, by how much it is above theirs."""
    ones = np.ones(len(outcomes))
    low, high = interval(outcomes.tolist(), ones.tolist())
    cells = (f"{outcomes.mean():.1%}", f"{low:.1%} to {high:.1%}")
    return cells if others is None else (*cells, change(others, outcomes, ones, ".1%"))


def change(before: Numbers, after: Numbers, weights: Numbers, form: str = ".3f") -> str:
    """after less before, sums over sums of weights, with its paired interval."""
    both = weights.tolist()
    value, (low, high) = paired_interval(before.tolist(), after.tolist(), both, both)
    return f"{value:+{form}} ({low:+{form}} to {high:+{form}})"


def read(config: PreferenceFoldsConfig) -> Pairs:
    """The pairs that fit in a row, with what the model to start from makes of them."""
    everything = [pair for path in config.preference_files for _, pair in read_pairs(path)]
    path = config.output_dir / "pairs.jsonl"
    write(path, as_pairs(everything))
    fit, before = log_probs_of(config, config.model_dir, path)
    print(f"{len(fit)} of {len(everything)} pairs fit in {config.max_length:,} tokens")
    _, tokenizer = load_pretrained(config.model_dir)
    pairs = [everything[number] for number in fit]
    tokens = [[len(tokenizer.encode(answer)) + 1 for answer in pair.answers] for pair in pairs]
    prompts = [json.dumps(pair.prompt) for pair in everything]
    order = {prompt: number for number, prompt in enumerate(dict.fromkeys(prompts))}
    folds = np.array([order[prompts[number]] % config.folds for number in fit])
    return Pairs(pairs, before, np.array(tokens, np.float64), folds)


def log_probs_of(
    config: PreferenceFoldsConfig, model_dir: Path, path: Path
) -> tuple[NDArray[np.int64], Numbers]:
    """The numbers of a file's pairs that fit in a row, ascending, and (pairs, 2) the
    log-probabilities of their answers under a model."""
    model, tokenizer = load_pretrained(model_dir)
    refuse_long_rows(config.max_length, model.config)
    cache = config.output_dir / "cache"
    data = tokenised_data("preference", [path], tokenizer, 0, cache)
    rows, _ = pack(data.train, config.max_length, tokenizer.end_of_text_id, pairs=True)
    key = f"{data.fingerprint} {weights_sha256(model_dir)}"
    found = Reference(model, cache, key, World()).log_probs("study", rows)
    order = np.argsort(rows.numbers)
    return rows.numbers[order], found[order].astype(np.float64)


def row(
    config: PreferenceFoldsConfig, pairs: Pairs, loss: PreferenceLoss, rate: float
) -> tuple[str, ...]:
    """Trains a loss at a learning rate on all folds but one, in turn, and measures on that one; a
    row of the table."""
    after, bits = np.full_like(pairs.before, math.nan), []
    for fold in range(config.only_folds or config.folds):
        place = config.output_dir / f"{loss}_{rate:g}" / f"fold_{fold}"
        after[pairs.folds == fold] = train_fold(config, pairs, loss, rate, fold, place)
        if config.eval_files:
            bits.append(text_bits(config, place / "model"))
    done = ~np.isnan(after[:, 0])
    before, after, longer = pairs.before[done], after[done], pairs.longer[done]
    reward = after / pairs.tokens[done] if loss in ("orpo", "simpo") else after - before
    num_bytes = pairs.chosen_bytes[done] * math.log(2)
    texts = "-"
    if bits:  # of a record the mean over the folds' models
        base, own = text_bits(config, config.model_dir), np.mean(bits, axis=0)
        texts = change(base[0], own[0], own[1])
    return (
        f"{loss}, rate {rate:g}",
        *right(first_is_larger(reward), longer),
        change(-before[:, 0], -after[:, 0], num_bytes),
        texts,
        " / ".join(f"{moved:+.0f}" for moved in (after - before).mean(axis=0)),
    )


def train_fold(
    config: PreferenceFoldsConfig,
    pairs: Pairs,
    loss: PreferenceLoss,
    rate: float,
    fold: int,
    place: Path,
) -> Numbers:
    """(pairs kept out, 2) the log-probabilities of their answers after training on the others."""
    place.mkdir(parents=True, exist_ok=True)
    held_out = [pair for pair, f in zip(pairs.pairs, pairs.folds, strict=True) if f == fold]
    others = [pair for pair, f in zip(pairs.pairs, pairs.folds, strict=True) if f != fold]
    write(place / "pairs.jsonl", as_pairs(held_out))
    form = as_labelled if loss == "kto" else as_pairs
    write(place / "train.jsonl", form(others))
    write(place / "held_out.jsonl", form(held_out))
    flags: dict[str, Any] = {
        "preset": "nano",
        "init_from": config.model_dir,
        "loss": loss,
        "learning_rate": rate,
        "preference_files": place / "train.jsonl",
        "dpo_model_dir": place / "model",
        "cache_dir": config.output_dir / "cache",
        "sample_tokens": 0,
        **{name: getattr(config, name) for name in ("device", "seed", "max_length", "batch_size")},
        **{name: getattr(config, name) for name in ("num_train_epochs", "eval_steps")},
    }
    words = [word for name, value in flags.items() for word in (f"--{name}", value)]
    if fold == 0:  # its curves are drawn; measuring takes as long as training
        words += ["--validation_files", place / "held_out.jsonl"]
    run_repository_script("train/train_dpo.py", *words, *(["--validation_every", 0] * (fold > 0)))
    return log_probs_of(config, place / "model", place / "pairs.jsonl")[1]


def as_pairs(pairs: Sequence[Preference]) -> Iterator[dict[str, Any]]:
    """Records of pairs."""
    for prompt, (chosen, rejected), _ in pairs:
        yield {**prompt_fields(prompt), "chosen": chosen, "rejected": rejected}


def as_labelled(pairs: Sequence[Preference]) -> Iterator[dict[str, Any]]:
    """Each pair as two labelled answers."""
    for prompt, answers, _ in pairs:
        for answer, label in zip(answers, (True, False), strict=True):
            turns = [*prompt.messages, {"role": "assistant", "content": answer}]
            yield {**prompt_fields(prompt), "conversations": turns, "label": label}


def prompt_fields(prompt: Conversation) -> dict[str, Any]:
    """The fields of a record that hold a prompt."""
    tools = {"tools": list(prompt.tools)} if prompt.tools else {}
    return {"conversations": list(prompt.messages), **tools}


def write(path: Path, records: Iterator[dict[str, Any]]) -> None:
    """Writes a JSONL file."""
    replace_file(path, text_writer(jsonl_text(records)))


def text_bits(config: PreferenceFoldsConfig, model_dir: Path) -> Numbers:
    """(2, records) bits and bytes of the eval_files under a model, which are measured once."""
    place = config.output_dir / "base" if model_dir == config.model_dir else model_dir
    place.mkdir(exist_ok=True)
    if not (place / RECORDS).is_file():
        files, device = config.eval_files, config.device
        settings = EvaluateConfig(model_dir, files, device=device, output_dir=place)
        measure_files(settings)
    kept = read_kept(place).values()
    return np.array([[v for k in kept for v in k[name]] for name in ("values", "weights")])
