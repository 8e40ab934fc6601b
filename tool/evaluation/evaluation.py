"""Evaluating a model on files, and comparing two models that were.

A file's records say by their keys what it measures:

{"text"}                                     bits per byte of texts
{"conversations"}                            bits per byte of the assistant's turns
{"good", "bad"}                              minimal pairs: the good sentence is likelier
{"question", "choices", "answer"}            multiple choice, by length-normalised likelihood
{"question", "reference"}                    bits per byte of the reference answer
{"prompt"}                                   free generations: repetition and distinct n-grams
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from config import QuantizeName, UserError
from data_process.records.jsonl import read_records
from data_process.records.kinds import (
    conversation_of,
    conversation_problems,
    described,
    kind_of,
)
from model.directory.storage import (
    json_text,
    json_writer,
    read_object,
    read_object_if_there,
    replace_file,
    sha256_of,
)
from tool.evaluation.generations import measure_distinct, measure_repetition
from tool.evaluation.likelihood import (
    LikelihoodModel,
    Outcome,
    Record,
    load_likelihood_model,
    measure_choices,
    measure_conversations,
    measure_pairs,
    measure_references,
    measure_texts,
)
from tool.settings import EvaluateConfig

RESULTS = "evaluation.json"
RECORDS = "evaluation_records.json"
"""What each record gave, for comparisons."""
RESAMPLES = 2_000
LEVEL = 0.95

Numbers = Sequence[float]
Draws = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Measure:
    """What is measured on the records of a kind of file."""

    name: str
    keys: tuple[str, ...]
    """The keys of its records."""
    better: str
    """higher or lower"""
    run: Callable[[LikelihoodModel, list[Record]], list[Outcome]]
    problems: Callable[[Record], Iterator[str]]
    """What is wrong with a record that has the keys."""
    chance: Callable[[list[Record]], float | None] = lambda records: None
    """What guessing gives; None: nothing sensible."""


def texts(*names: str, may_be_empty: str = "") -> Callable[[Record], Iterator[str]]:
    """A check that values are texts."""

    def problems(record: Record) -> Iterator[str]:
        for name in names:
            value = record[name]
            if not isinstance(value, str):
                yield f'"{name}" is a {type(value).__name__}; it must be a string'
            elif not value.strip() and name != may_be_empty:
                yield f'"{name}" is empty; it must be a non-empty string'

    return problems


def choice_problems(record: Record) -> Iterator[str]:
    """What is wrong with a question of multiple choice; its answer is the number of a choice."""
    yield from texts("question")(record)
    choices, answer = record["choices"], record["answer"]
    if not isinstance(choices, list) or len(choices) < 2 or not all(map(str, choices)):
        yield '"choices" must be a list of two choices at least, none of them empty'
    elif type(answer) is not int or answer not in range(len(choices)):
        yield f'"answer" is {answer!r}; it must be a whole number from 0 to {len(choices) - 1}'


def chance_of_choices(records: list[Record]) -> float:
    """One over the number of choices, as a mean over all questions."""
    return sum(1 / len(record["choices"]) for record in records) / len(records)


BITS = "bits per byte"
PROMPT, CHOICE = ("prompt",), ("question", "choices", "answer")
REFERENCE = ("question", "reference")
MEASURES = (
    Measure(BITS, ("text",), "lower", measure_texts, texts("text")),
    Measure(BITS, ("conversations",), "lower", measure_conversations, conversation_problems),
    Measure(
        "minimal pairs",
        ("good", "bad"),
        "higher",
        measure_pairs,
        texts("good", "bad"),
        lambda _: 0.5,
    ),
    Measure(
        "multiple choice", CHOICE, "higher", measure_choices, choice_problems, chance_of_choices
    ),
    Measure("repeated 4-grams", PROMPT, "lower", measure_repetition, texts("prompt")),
    Measure("distinct 2-grams", PROMPT, "higher", measure_distinct, texts("prompt")),
    Measure(
        BITS,
        REFERENCE,
        "lower",
        measure_references,
        texts(*REFERENCE, may_be_empty="reference"),  # an open question has an empty one
    ),
)
"""The kinds of files; the first whose keys a record has, and others of the same keys."""


def read_measures(path: Path, limit: int | None) -> tuple[list[Measure], list[Record]]:
    """What a file measures, and its records, or `limit` of them that are evenly spread: such files
    are often sorted by what they ask.

    Raises:
        UserError: the kind is unknown, a record is of another kind than the first, or it holds
            what it must not; the line is named.
    """
    records: list[Record] = []
    measure = None
    for line in read_records(path):
        record = line.value
        if kind_of(record) == "conversations":
            record = {"conversations": conversation_of(record), **record}
        found = next((m for m in MEASURES if set(m.keys) <= record.keys()), None)
        if found is None or measure not in (None, found):
            kinds = "; ".join(dict.fromkeys(", ".join(m.keys) for m in MEASURES))
            raise UserError(
                f"{line.place}: found {described(record)}; all lines must have the keys of one "
                f"kind: {kinds}"
            )
        measure = found
        for problem in found.problems(record):
            raise UserError(f"{line.place}: {problem}")
        records.append(record)
    assert measure  # read_records refuses an empty file
    if limit and limit < len(records):
        records = [records[n * len(records) // limit] for n in range(limit)]
    return [m for m in MEASURES if m.keys == measure.keys], records


def earlier_results(
    output_dir: Path, model_dir: Path, quantize: QuantizeName = "none"
) -> dict[str, Any]:
    """The content of an evaluation.json of this very model (by the sha256 of its weights and their
    rounding); else only these two."""
    weights = sorted(model_dir.glob("*.safetensors"))
    mark = {"weights_sha256": [sha256_of(path) for path in weights], "quantize": quantize}
    earlier = read_object_if_there(output_dir / RESULTS)
    same = all(earlier.get(name) == value for name, value in mark.items())
    return {**earlier, **mark} if same else dict(mark)


def measure_files(config: EvaluateConfig) -> list[dict[str, Any]]:
    """Measures a model on every file, and writes what each record gave.

    Returns:
        A row a measure: file, measure, value, its interval, chance, and values by group.

    Raises:
        UserError: no such model, a file of no known kind, or two of the same name.
    """
    names = [path.name for path in config.eval_files]
    if twice := [name for name in names if names.count(name) > 1]:
        raise UserError(
            f"--eval_files: two files are named {twice[0]}, and results are kept by name; rename "
            "one, or evaluate them one after the other with an --output_dir each"
        )
    readings = [(path, *read_measures(path, config.limit)) for path in config.eval_files]
    scorer = load_likelihood_model(config.model_dir, config.device, config.engine, config.quantize)
    rows, kept = [], {}
    for path, measures, records in readings:
        for measure in measures:
            outcomes = measure.run(scorer, records)
            if not any(outcome.weight for outcome in outcomes):
                print(f"{path.name[:28]:28} {measure.name:18} nothing to measure", flush=True)
                continue
            row = summary(path, measure, records, outcomes)
            rows.append(row)
            kept[f"{path.name}: {measure.name}"] = {
                "better": measure.better,
                "records_sha256": hashlib.sha256(json_text(records).encode()).hexdigest(),
                "values": [outcome.value for outcome in outcomes],
                "weights": [outcome.weight for outcome in outcomes],
            }
            print(line(row), flush=True)
    replace_file((config.output_dir or config.model_dir) / RECORDS, json_writer(kept))
    return rows


def summary(
    path: Path, measure: Measure, records: list[Record], outcomes: Sequence[Outcome]
) -> dict[str, Any]:
    """A measure's row."""
    values, weights = columns(outcomes)
    low, high = interval(values, weights)
    groups: dict[str, list[Outcome]] = defaultdict(list)
    counted = [outcome for outcome in outcomes if outcome.weight]
    for outcome in counted:
        groups[outcome.group].append(outcome)
    return {
        "file": path.name,
        "measure": measure.name,
        "better": measure.better,
        "value": ratio(values, weights),
        "low": low,
        "high": high,
        "chance": measure.chance(records),
        "records": len(counted),
        "by_group": {
            name: ratio(*columns(members)) for name, members in sorted(groups.items()) if name
        },
    }


def columns(outcomes: Sequence[Outcome]) -> tuple[list[float], list[float]]:
    """Values and weights."""
    return [o.value for o in outcomes], [o.weight for o in outcomes]


HEADER = (
    f"{'file':28} {'measure':18} {'value':>8}  {'95% interval':17} {'chance':>7} {'records':>8}"
)
"""The columns of the table of files and tasks, which `line` fills."""


def line(row: dict[str, Any]) -> str:
    """A row of the table: of a file, or of a task of lm-eval."""
    name, chance = row.get("file") or row["task"], row.get("chance")
    between = "-" if row["low"] is None else f"{row['low']:.4f} to {row['high']:.4f}"
    guessing = "-" if chance is None else f"{chance:.3f}"
    records = "-" if row["records"] is None else f"{row['records']:,}"
    return (
        f"{name[:28]:28} {row['measure'][:18]:18} {row['value']:>8.4f}  {between:17} "
        f"{guessing:>7} {records:>8}"
    )


def compare(first: Path, second: Path) -> list[str]:
    """How two evaluated models differ, record by record, a line a measure.

    Raises:
        UserError: one was not evaluated, or not on the same records.
    """
    a, b = (read_kept(directory) for directory in (first, second))
    common = [name for name in a if name in b]
    if not common:
        raise UserError(f"{first} and {second} were not evaluated on a common file; do that first")
    called = second.name if second.name != first.name else str(second)
    lines = [f"{'file: measure':48} {'difference':>10}  {'95% interval':19} verdict"]
    for name in common:
        if a[name]["records_sha256"] != b[name]["records_sha256"]:
            raise UserError(
                f"{name}: {first} and {second} were evaluated on different records; evaluate both "
                "with the same files and --limit"
            )
        difference, (low, high) = paired_interval(
            a[name]["values"], b[name]["values"], a[name]["weights"], b[name]["weights"]
        )
        between = f"{low:+.4f} to {high:+.4f}"
        found = verdict(low, high, a[name]["better"], called)
        lines.append(f"{name[:48]:48} {difference:>+10.4f}  {between:19} {found}")
    return lines


def verdict(low: float, high: float, better: str, name: str) -> str:
    """What an interval of a difference says."""
    if low <= 0 <= high:
        return "no significant difference"
    return f"{name} is {'better' if (low > 0) == (better == 'higher') else 'worse'}"


def read_kept(directory: Path) -> dict[str, Any]:
    """What each record of an evaluated model gave.

    Raises:
        UserError: the model was not evaluated, or what is kept of it is damaged.
    """
    path = directory / RECORDS
    if not path.is_file():
        raise UserError(
            f"{directory}: not evaluated on files yet; run tool/evaluate.py --model_dir "
            f"{directory} --eval_files ... first"
        )
    kept = read_object(path)
    needed = {"better", "records_sha256", "values", "weights"}
    if not all(isinstance(row, dict) and needed <= row.keys() for row in kept.values()):
        raise UserError(
            f"{path} is damaged, or of an earlier version of Etude; evaluate the model again"
        )
    return kept


def ratio(values: Numbers, weights: Numbers) -> float:
    """The sum of values over the sum of weights, which is not 0."""
    return float(np.sum(values) / np.sum(weights))


def interval(values: Numbers, weights: Numbers) -> tuple[float, float]:
    """The 95% bootstrap interval of `ratio`, over records (Efron 1979)."""
    return bounds(resampled(values, weights))


def paired_interval(
    first: Numbers, second: Numbers, first_weights: Numbers, second_weights: Numbers
) -> tuple[float, tuple[float, float]]:
    """The difference of two models' ratios on the same records, second minus first, and its 95%
    bootstrap interval. Weights are each model's own: one may have written more than the other."""
    samples = resampled(second, second_weights) - resampled(first, first_weights)
    return ratio(second, second_weights) - ratio(first, first_weights), bounds(samples)


def resampled(values: Numbers, weights: Numbers) -> Draws:
    """`ratio` of RESAMPLES draws of as many records, which are the same draws for as many records;
    NaN where a draw has no weight."""
    columns = np.asarray([values, weights], dtype=np.float64)
    draw, count = np.random.default_rng(1), len(values)
    sums = np.empty((2, RESAMPLES))
    for number in range(RESAMPLES):
        times = np.bincount(draw.integers(count, size=count), minlength=count)
        sums[:, number] = columns @ times
    return np.divide(sums[0], sums[1], out=np.full(RESAMPLES, np.nan), where=sums[1] != 0)


def bounds(samples: Draws) -> tuple[float, float]:
    """The middle 95% of samples that are numbers."""
    tail = (1 - LEVEL) / 2
    low, high = np.nanquantile(samples, [tail, 1 - tail])
    return float(low), float(high)
