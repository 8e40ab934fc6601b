"""A model under lm-eval, EleutherAI's harness, with its own tasks or with tasks from a folder.

lm-eval loads the converted directory through transformers, as it would anybody's Llama: nothing of
Etude computes here. docs/evaluation.md compares its numbers with ours.
"""

from __future__ import annotations

import importlib
import logging
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from config import UserError
from model.device import pick_device
from model.directory.pretrained import is_chat_model
from model.tokenizer import EtudeTokenizer
from tool.settings import ConvertConfig
from train.measures.intervals import RESAMPLES

BATCH_SIZE = 16
NORMAL_95 = 1.96
"""Standard errors to either side of a mean, between which 95% of a normal distribution lie."""


def run_lm_eval(
    model_dir: Path, tasks: Sequence[str], task_dir: Path | None, limit: int | None, device: str
) -> list[dict[str, Any]]:
    """Runs lm-eval; a chat model gets its questions in the chat template.

    Args:
        model_dir: an Etude model, which is converted for the while, or a converted one.
        tasks: names of tasks, groups or tags.
        task_dir: a folder of task files (YAML), beside lm-eval's own; None: only those.
        limit: take only this many records of each task.
        device: as in `model/device.py`.

    Returns:
        A row a metric: task, measure, better, value, its standard error and 95% interval, records.

    Raises:
        UserError: lm-eval is not installed, there is no such task, model or device, or the data of
            a task cannot be had.
    """
    lm_eval, harness_model, task_manager = import_lm_eval()
    manager = task_manager(include_path=str(task_dir) if task_dir else None)
    if unknown := [task for task in tasks if task not in manager.all_tasks]:
        where = f" or in {task_dir}" if task_dir else "; --lm_eval_dir names a folder of your own"
        raise UserError(f"--lm_eval {' '.join(unknown)}: there is no such task in lm-eval{where}")
    place = str(pick_device(device))
    with converted(model_dir) as directory:
        model = harness_model(
            # absolute: lm-eval asks the hub about what could be the name of a repository
            pretrained=str(directory.resolve()),
            device=place,
            batch_size=BATCH_SIZE,
            # what a text begins after, where a task gives it no context
            prefix_token_id=EtudeTokenizer.load(directory).end_of_text_id,
        )
        try:
            result = lm_eval.simple_evaluate(
                model=model,
                tasks=list(tasks),
                task_manager=manager,
                limit=limit,
                apply_chat_template=is_chat_model(directory),
                log_samples=False,
                bootstrap_iters=RESAMPLES,
            )
        except OSError as error:  # no file, no network, no such data set
            reason = str(error).partition("\n")[0]
            raise UserError(
                f"--lm_eval {' '.join(tasks)}: the data of a task cannot be had: {reason}"
            ) from error
    return rows(result)


def import_lm_eval() -> tuple[Any, Any, Any]:
    """The package, its model class for transformers, and its manager of tasks.

    Raises:
        UserError: they cannot be imported.
    """
    try:
        package = importlib.import_module("lm_eval")
        model = importlib.import_module("lm_eval.models.huggingface").HFLM
        manager = importlib.import_module("lm_eval.tasks").TaskManager
    except ImportError as error:
        raise UserError(
            f"--lm_eval: lm-eval cannot be imported ({error}); run `pip install "
            '"lm-eval[hf]"`, or leave it out'
        ) from error
    logging.getLogger("lm_eval").setLevel(logging.ERROR)  # it warns of each default that it takes
    return package, model, manager


@contextmanager
def converted(model_dir: Path) -> Iterator[Path]:
    """The directory itself if it is a conversion, else one made for the while, and proved.

    Raises:
        UserError: there is no model, or its conversion is not the same model.
    """
    from tool.conversion.hf import REPORT, convert
    from tool.conversion.hf_proof import ProofFailed

    if (model_dir / REPORT).is_file():
        yield model_dir
        return
    with tempfile.TemporaryDirectory() as folder:
        try:
            directory, _ = convert(ConvertConfig(model_dir, Path(folder) / model_dir.name))
        except ProofFailed as error:
            raise UserError(f"{model_dir}: the proof of its conversion failed: {error}") from error
        yield directory


def rows(result: dict[str, Any]) -> list[dict[str, Any]]:
    """What lm-eval found, a row a metric, in the order of its tasks."""
    found = []
    for task, metrics in result["results"].items():
        for name, value in metrics.items():
            metric, _, filtered = name.partition(",")
            if not filtered or metric.endswith("_stderr") or not isinstance(value, (int, float)):
                continue  # the task's name, its size and the like
            error = metrics.get(f"{metric}_stderr,{filtered}")
            error = error if isinstance(error, float) else None  # "N/A" where there is none
            higher = result["higher_is_better"].get(task, {}).get(metric)
            found.append(
                {
                    "task": task,
                    "measure": metric if filtered == "none" else f"{metric}, {filtered}",
                    "better": None if higher is None else "higher" if higher else "lower",
                    "value": value,
                    "stderr": error,
                    "low": None if error is None else value - NORMAL_95 * error,
                    "high": None if error is None else value + NORMAL_95 * error,
                    "records": result["n-samples"].get(task, {}).get("effective"),
                }
            )
    return found
