"""Evaluating a model on files, and comparing two models that were; what a file measures is found
by its records' keys (train/measures/files.py).
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from config import QuantizeName, UserError
from inference.engine.answers import make_spell
from inference.engine.constraint import Grammar, Vocabulary, json_grammar
from model.directory.storage import (
    json_text,
    json_writer,
    read_object,
    read_object_if_there,
    replace_file,
    sha256_of,
)
from tool.settings import EvaluateConfig
from train.measures.files import read_measures, refuse_same_names
from train.measures.intervals import paired_interval, verdict
from train.measures.likelihood import LikelihoodModel, load_likelihood_model
from train.measures.scores import Score

RESULTS = "evaluation.json"
RECORDS = "evaluation_records.json"
"""What each record gave, for comparisons."""


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
    refuse_same_names("--eval_files", config.eval_files)
    readings = [(path, *read_measures(path, config.limit)) for path in config.eval_files]
    schema = read_schema(config.json_schema) if config.json_schema else None
    scorer = load_likelihood_model(config.model_dir, config.device, config.engine, config.quantize)
    if schema is not None:
        scorer = replace(scorer, grammar=grammar_of(scorer, schema, config.json_schema))
    rows, kept = [], {}
    for path, measures, records in readings:
        for measure in measures:
            outcomes = measure.run(scorer, records)
            if not any(outcome.weight for outcome in outcomes):
                print(f"{path.name[:28]:28} {measure.name:18} nothing to measure", flush=True)
                continue
            chance = measure.chance(records)
            row = Score(path.name, measure.name, measure.better, outcomes, chance).row()
            rows.append(row)
            kept[f"{path.name}: {measure.name}"] = {
                "better": measure.better,
                "records_sha256": hashlib.sha256(json_text(records).encode()).hexdigest(),
                "values": [outcome.value for outcome in outcomes],
                "weights": [outcome.weight for outcome in outcomes],
                "said": [outcome.said for outcome in outcomes if outcome.said],
            }
            print(line(row), flush=True)
    replace_file((config.output_dir or config.model_dir) / RECORDS, json_writer(kept))
    return rows


def read_schema(path: Path) -> dict[str, Any]:
    """A JSON schema; raises UserError when the file is missing or holds something else."""
    try:
        schema = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"--json_schema {path}: it cannot be read as JSON ({error})") from error
    if not isinstance(schema, dict):
        raise UserError(f"--json_schema {path}: a schema is an object, and this is another value")
    return schema


def grammar_of(scorer: LikelihoodModel, schema: dict[str, Any], path: Path | None) -> Grammar:
    """What answers of a JSON schema are held to; raises UserError when it cannot be kept to."""
    tokenizer, size = scorer.tokenizer, scorer.model.lm_head.weight.shape[0]
    stops = tokenizer.end_ids(is_chat=True)
    try:
        vocabulary = Vocabulary(tokenizer, make_spell(tokenizer), size, stops)
        return Grammar(vocabulary, json_grammar(schema))
    except UserError as error:
        raise UserError(f"--json_schema {path}: {error}") from error


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
