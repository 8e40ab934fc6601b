"""Before and after: what a run changed, on its held-out data and on the files that are watched.

The model is measured before the first step and after the last one, record by record, so that the
difference has a paired interval, and what was right and is wrong now has a name. What was measured
before lies beside the checkpoints; where that is missing, damaged, or of other files, it is
measured again: every start has the weights that the run began with, until it restores a checkpoint.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from config import TrainConfig
from inference.engine.native import LIBRARY
from model.directory.storage import (
    DamagedDirectory,
    Writer,
    json_text,
    json_writer,
    new_directory,
    read_object,
    read_object_if_there,
    sha256_of,
    verify,
)
from train.data.batches import BatchSource
from train.data.pairs import PairRows
from train.distributed import World, whole
from train.measures.files import Measure, read_measures, refuse_same_names
from train.measures.held_out import pair_scores, record_bits
from train.measures.likelihood import LikelihoodModel, Record, Stopped
from train.measures.scores import Score, change, forgotten
from train.objective import SummedLoss
from train.objectives.preference import Preference
from train.run.plan import duration
from train.stage import Stage

REPORT = "post_training_report.json"
BEFORE, CONTENT = "before", "before.json"
EXAMPLES = 3
"""Forgotten records that are shown; the file has all."""


@dataclass(frozen=True)
class WatchFile:
    """An evaluation file, read."""

    name: str
    sha256: str
    measures: Sequence[Measure]
    records: list[Record]


def read_watch_files(config: TrainConfig) -> list[WatchFile]:
    """The files to watch.

    Raises:
        UserError: one is missing, malformed (file:line), or has the name of another.
    """
    refuse_same_names("--watch_files", config.watch_files)
    return [
        WatchFile(path.name, sha256_of(path), *read_measures(path, config.watch_records))
        for path in config.watch_files
    ]


class Report:
    """What is measured before, while and after a run trains."""

    def __init__(
        self,
        stage: Stage,
        world: World,
        loss: SummedLoss,
        batches: BatchSource,
        watched: Sequence[WatchFile],
        stopped: Callable[[], bool],
    ) -> None:
        self.stage, self.world, self.loss = stage, world, loss
        self.batches, self.watched, self.stopped = batches, watched, stopped
        self.before: list[Score] = []
        self.seconds = 0.0
        """What measuring before took."""
        self.files: dict[str, Writer] = {}
        """What is written beside the finished model."""
        self.newest: tuple[int, list[Score]] | None = None
        """Of the watched files: the step, and what was found."""
        if watched and world.device.type == "cpu":  # else answers would change in the middle
            LIBRARY.prepare()
            LIBRARY.wait()

    @property
    def wanted(self) -> bool:
        """Whether there is a before that is worth a comparison: a model that begins from nothing
        has none, unless files are watched."""
        return bool(self.watched) or not getattr(self.stage.config, "is_new", False)

    @property
    def key(self) -> str:
        """What the numbers of before depend on."""
        identity, config = self.stage.identity, self.stage.config
        files = [(file.name, file.sha256) for file in self.watched]
        sizes = [config.validation_bytes, config.watch_records]
        sizes.append(getattr(config, "validation_prompts", 0))
        facts = [1, identity.settings, identity.fingerprints, files, sizes]
        return hashlib.sha256(json_text(facts).encode()).hexdigest()

    def begin(self, checkpoints: Path) -> str:
        """Measures the weights that the run starts from, or reads what was measured at an earlier
        start; must be called before a checkpoint is restored. Returns what it did, in a line."""
        if not self.wanted:
            return ""
        found = self.read(checkpoints / BEFORE) if self.world.is_main else None
        if self.world.same(found is not None):
            if found:
                self.before, self.seconds = [Score.of(s) for s in found["scores"]], found["seconds"]
            return ""
        began = time.perf_counter()
        scores = self.measure(0)
        assert scores is not None  # before the first step a signal ends the process at once
        self.before, self.seconds = scores, time.perf_counter() - began
        if self.stage.config.max_minutes is not None:
            self.forget()  # the first evaluation must show how long one takes
        if self.world.is_main and scores:
            content = {"key": self.key, "seconds": round(self.seconds, 1)}
            content["scores"] = [score.plain() for score in scores]
            with new_directory(checkpoints / BEFORE) as aside:
                json_writer(content)(aside / CONTENT)
        names = ", ".join(dict.fromkeys(score.file for score in scores))
        return f"measured before training in {duration(self.seconds)}: {names}" if scores else ""

    def forget(self) -> None:
        """Lets the next measurement not take over what the last one found."""
        self.newest = None
        if self.stage.rollouts:
            self.stage.rollouts.measured = None

    def read(self, place: Path) -> dict[str, Any] | None:
        """What an earlier start measured; None: nothing that can be used."""
        with suppress(DamagedDirectory):
            verify(place)
            found = read_object(place / CONTENT)
            if found.get("key") == self.key:
                return found
        return None

    def measure(self, step: int) -> list[Score] | None:
        """What each held-out record and each watched one gives now; None: a signal came."""
        stage = self.stage
        watched = self.watch(step)
        if watched is None:
            return None
        with whole(self.loss):
            scores = record_bits(self.loss, stage.validation, stage.tokenizer)
            if isinstance(stage.objective, Preference) and stage.objective.name != "kto":
                pairs = [rows for rows in stage.held_out if isinstance(rows, PairRows)]
                scores += pair_scores(self.loss, stage.objective, pairs, stage.tokenizer)
        if stage.rollouts:
            if self.batches.measure() is None:
                return None
            scores += self.batches.scores()
        return [*scores, *watched]

    def watch(self, step: int) -> list[Score] | None:
        """The scores of the watched files after a step; None: a signal came."""
        if self.newest and self.newest[0] == step:
            return self.newest[1]
        scores: list[Score] | None = []
        try:
            with whole(self.loss):
                scores = self.scores_of(self.likelihood_model())
        except Stopped:
            scores = None
        if self.world.any(scores is None):
            return None
        assert scores is not None
        self.newest = (step, scores)
        return scores

    def likelihood_model(self) -> LikelihoodModel:
        """The model in training, to be measured. Where each process has only a part of the weights
        it computes on torch, and to the end: all must do the same."""
        stage, shards = self.stage, self.world.shards
        model = stage.model
        return LikelihoodModel(
            model,
            model,
            stage.tokenizer,
            model.config.max_position_embeddings,
            stage.is_chat,
            self.world.device,
            native=not shards,
            stopped=(lambda: False) if shards else self.stopped,
        )

    def scores_of(self, scorer: LikelihoodModel) -> list[Score]:
        """What the watched files give; raises Stopped."""
        scores = []
        for file in self.watched:
            for measure in file.measures:
                outcomes = measure.run(scorer, file.records)
                if any(outcome.weight for outcome in outcomes):
                    chance = measure.chance(file.records)
                    found = Score(file.name, measure.name, measure.better, outcomes, chance)
                    scores.append(found)
        return scores

    def finish(self, step: int, directory: Path) -> list[str] | None:
        """Measures the weights that the run ends with, makes the report, and returns it as lines
        for the screen; None: a signal came."""
        if not self.world.any(bool(self.before)):
            return []
        began = time.perf_counter()
        after = self.measure(step)
        if after is None:
            return None
        if not self.world.is_main:
            return []
        seconds = time.perf_counter() - began
        known = {score.title: score for score in self.before}
        pairs = [(known[score.title], score) for score in after if score.title in known]
        report = {
            "stage": self.stage.name,
            "step": step,
            "seconds": {"before": round(self.seconds, 1), "after": round(seconds, 1)},
            "rows": [change(*pair) for pair in pairs],
            "forgotten": [found for pair in pairs if (found := forgotten(*pair))],
        }
        self.files = {REPORT: json_writer(report)}
        cost = f"{duration(self.seconds)} and {duration(seconds)}"
        return [*table(report), f"measured in {cost}; all of it is in {directory / REPORT}"]


def unmeasured(directory: Path, watched: Sequence[WatchFile]) -> str:
    """What to do about watched files that the report of a complete run does not have; else an empty
    text."""
    known = [row.get("file") for row in read_object_if_there(directory / REPORT).get("rows", [])]
    missing = ", ".join(file.name for file in watched if file.name not in known)
    if not missing:
        return ""
    return (
        f"not measured, for the run is complete: {missing}; evaluate the model and the one it "
        "started from with tool/evaluate.py --eval_files, and --compare them"
    )


def table(report: dict[str, Any]) -> list[str]:
    """A report as lines for the screen."""
    lines = [
        f"{'before and after':26} {'measure':16} {'before':>8} {'after':>8} {'change':>8}  "
        f"{'95% interval':19} verdict"
    ]
    for row in report["rows"]:
        between = f"{row['low']:+.4f} to {row['high']:+.4f}"
        numbers = f"{row['before']:8.4f} {row['after']:8.4f} {row['difference']:+8.4f}"
        lines.append(
            f"{row['file'][:26]:26} {row['measure'][:16]:16} {numbers}  {between:19} "
            f"{row['verdict']}"
        )
    for found in report["forgotten"]:
        lines += forgotten_lines(found)
    return lines


def forgotten_lines(found: dict[str, Any]) -> list[str]:
    """What was forgotten of a file."""
    lost = {name: n["forgotten"] for name, n in found["by_group"].items() if n["forgotten"]}
    groups = ", ".join(f"{name} {count}" for name, count in lost.items() if name)
    head = (
        f"{found['file']}: {found['measure']}: {found['forgotten']} of {found['right_before']} "
        f"that were right before are wrong now, {found['learned']} the other way round"
    )
    lines = [f"{head}; forgotten: {groups}" if groups else head]
    for example in found["examples"][:EXAMPLES]:
        question, before, after = (
            " ".join(example[key].split())[:60] for key in ("question", "before", "after")
        )
        lines.append(f"  {question} | {before} -> {after}")
    return lines
