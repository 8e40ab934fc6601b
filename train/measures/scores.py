"""A score: what a measure found, record by record, and how two of them differ."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from train.measures.intervals import interval, paired_interval, ratio, verdict
from train.measures.likelihood import Outcome

HELD_OUT_DATA = "held out"
"""In place of a file's name: the held-out data of a run."""
HALF = 0.5
"""A record of a measure of right and wrong is right above it, and wrong below."""


@dataclass(frozen=True)
class Score:
    """What the records of a file gave."""

    file: str
    measure: str
    better: str
    """higher or lower"""
    outcomes: Sequence[Outcome]
    chance: float | None = None
    """What guessing gives; None: nothing sensible."""

    @property
    def value(self) -> float:
        """The sum of values over the sum of weights."""
        return ratio(*columns(self.outcomes))

    @property
    def title(self) -> str:
        """What names it among others."""
        return f"{self.file}: {self.measure}"

    def row(self) -> dict[str, Any]:
        """Value, interval, and values by group."""
        counted = [outcome for outcome in self.outcomes if outcome.weight]
        low, high = interval(*columns(self.outcomes))
        return {
            "file": self.file,
            "measure": self.measure,
            "better": self.better,
            "value": self.value,
            "low": low,
            "high": high,
            "chance": self.chance,
            "records": len(counted),
            "by_group": by_group(counted),
        }

    def plain(self) -> dict[str, Any]:
        """All of it, for JSON."""
        return {**vars(self), "outcomes": [list(vars(o).values()) for o in self.outcomes]}

    @classmethod
    def of(cls, plain: dict[str, Any]) -> Score:
        """The reverse of `plain`."""
        return cls(**{**plain, "outcomes": [Outcome(*fields) for fields in plain["outcomes"]]})


def columns(outcomes: Sequence[Outcome]) -> tuple[list[float], list[float]]:
    """Values and weights."""
    return [o.value for o in outcomes], [o.weight for o in outcomes]


def by_group(outcomes: Sequence[Outcome]) -> dict[str, float]:
    """The value of each group that has a name."""
    groups: dict[str, list[Outcome]] = defaultdict(list)
    for outcome in outcomes:
        groups[outcome.group].append(outcome)
    return {name: ratio(*columns(members)) for name, members in sorted(groups.items()) if name}


def change(before: Score, after: Score) -> dict[str, Any]:
    """The difference of two scores of the same records, with its interval."""
    (first, first_weights), (second, second_weights) = map(
        columns, (before.outcomes, after.outcomes)
    )
    difference, (low, high) = paired_interval(first, second, first_weights, second_weights)
    row = after.row()
    groups = by_group([outcome for outcome in before.outcomes if outcome.weight])
    return {
        **{name: row[name] for name in ("file", "measure", "better", "records", "chance")},
        "before": before.value,
        "after": after.value,
        "difference": difference,
        "low": low,
        "high": high,
        "verdict": verdict(low, high, after.better, "after"),
        "by_group": {name: [groups.get(name), value] for name, value in row["by_group"].items()},
    }


def forgotten(before: Score, after: Score) -> dict[str, Any] | None:
    """The records that were right before and are wrong after, and the other way round, by group;
    None where nothing is right or wrong."""
    if not any(outcome.asked for outcome in after.outcomes):
        return None
    names = ("right_before", "forgotten", "learned")
    groups: dict[str, dict[str, int]] = {}
    examples = []
    for old, new in zip(before.outcomes, after.outcomes, strict=True):
        counts = groups.setdefault(new.group, dict.fromkeys(names, 0))
        counts["right_before"] += old.value > HALF
        counts["learned"] += old.value < HALF < new.value
        if old.value > HALF > new.value:
            counts["forgotten"] += 1
            said = {"question": new.asked, "before": old.said, "after": new.said}
            examples.append({"group": new.group, **said})
    total = {name: sum(counts[name] for counts in groups.values()) for name in names}
    named = {"file": after.file, "measure": after.measure}
    return {**named, **total, "by_group": groups, "examples": examples}
