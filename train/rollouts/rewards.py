"""Rewards that can be verified: functions of an answer and of the record of its prompt.

    answer      contains one of the accepted "answers" (each a text, or several that must all
                occur), and none of the rule's "rejected" texts
    exact       is one of them, but for case and white space around it
    number      its last number is that of the rule "number", else of the first of "answers"
    json        is the JSON object "json"; the order of its keys does not matter
    format      the rule "format", a regular expression, matches all of it
    length      has at least "min_characters" and at most "max_characters" of the rule
    language    is in the language of the question, or in the rule's "language" (zh, en)
    ended       ended by itself, not cut at --max_new_tokens

Each is 1 or 0. Texts occur as in the sample's questions: see data_process/sample/evaluation.py.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from cli import run_file
from config import GRPOConfig, UserError
from data_process.records.kinds import conversation_of
from data_process.sample.evaluation import occurs
from model.tokenizer import script_of

Record = dict[str, Any]
Verdict = Callable[[str, Record], float]
OwnReward = Callable[[str, str, Record], float]
"""A person's own: prompt (the last user's turn), answer, record."""
NUMBER = re.compile(r"[-−]?\d[\d,]*(?:\.\d+)?")
LARGEST = 1e9
"""A reward below it stays exact enough for advantages in float32."""
SCRIPTS = {"zh": "han", "en": "latin"}


def texts_of(alternative: str | list[str]) -> list[str]:
    """The texts of an accepted answer, which must all occur."""
    return [alternative] if isinstance(alternative, str) else alternative


def rule_of(record: Record, name: str, default: Any = None) -> Any:
    """What the rule of a record says, or the default."""
    return record.get("rule", {}).get(name, default)


def contains(answer: str, record: Record) -> float:
    """The reward "answer"."""
    if any(occurs(text, answer) for text in rule_of(record, "rejected", [])):
        return 0.0
    options = map(texts_of, record["answers"])
    return float(any(all(occurs(text, answer) for text in texts) for texts in options))


def is_exact(answer: str, record: Record) -> float:
    """The reward "exact"."""
    wanted = {" ".join(texts_of(a)).strip().casefold() for a in record["answers"]}
    return float(answer.strip().casefold() in wanted)


def last_number(text: str) -> float | None:
    """The last number of a text; commas between digits are no part of it."""
    found = NUMBER.findall(text)
    return float(found[-1].replace(",", "").replace("−", "-")) if found else None


def has_number(answer: str, record: Record) -> float:
    """The reward "number"."""
    found, wanted = last_number(answer), number_of(record)
    return float(None not in (found, wanted) and math.isclose(found, wanted, rel_tol=1e-9))  # type: ignore[arg-type]


def number_of(record: Record) -> float | None:
    """The number that an answer must end with; None: the record says none."""
    stated: float | None = rule_of(record, "number")
    if stated is not None or not record.get("answers"):
        return stated
    return last_number(texts_of(record["answers"][0])[-1])


def object_of(answer: str) -> dict[str, Any] | None:
    """The JSON object that an answer is; None: it is none."""
    try:
        found = json.loads(answer)
    except (ValueError, RecursionError):  # a model may well write a thousand brackets
        return None
    return found if isinstance(found, dict) else None


def is_same(one: object, other: object) -> bool:
    """Whether two JSON values are the same: 1 is not 1.0, nor true; keys have no order."""
    return json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)


def is_object(answer: str, record: Record) -> float:
    """The reward "json"."""
    return float(is_same(object_of(answer), record["json"]))


def matches(answer: str, record: Record) -> float:
    """The reward "format"."""
    return float(bool(re.fullmatch(rule_of(record, "format"), answer.strip(), re.DOTALL)))


def fits(answer: str, record: Record) -> float:
    """The reward "length"."""
    low, high = rule_of(record, "min_characters", 0), rule_of(record, "max_characters", math.inf)
    return float(low <= len(answer.strip()) <= high)


def is_in_language(answer: str, record: Record) -> float:
    """The reward "language"."""
    named = rule_of(record, "language")
    question = conversation_of(record)[-1]["content"]
    wanted = SCRIPTS[named] if named else script_of(question)
    return float(bool(answer.strip()) and script_of(answer) == wanted)


VERDICTS: dict[str, Verdict] = {
    "answer": contains,
    "exact": is_exact,
    "number": has_number,
    "json": is_object,
    "format": matches,
    "length": fits,
    "language": is_in_language,
}


def missing_of(name: str, record: Record) -> str:
    """What a record lacks for a reward to judge by, or that it has it: an empty text."""
    rule = record.get("rule", {})
    lacks = {
        "answer": not record.get("answers") and 'no "answers"',
        "exact": not record.get("answers") and 'no "answers"',
        "number": number_of(record) is None and 'no number in its "answers", nor a rule "number"',
        "json": "json" not in record and 'no "json"',
        "format": "format" not in rule and 'no rule "format"',
        "length": not {"min_characters", "max_characters"} & rule.keys()
        and 'no rule "min_characters" or "max_characters"',
        "language": rule.get("language", "en") not in SCRIPTS
        and f"the language {rule.get('language')!r}, which is none of {', '.join(SCRIPTS)}",
    }
    return lacks.get(name) or ""


class Rewards:
    """The rewards of a run, and their sum."""

    def __init__(self, config: GRPOConfig) -> None:
        """Raises UserError when the file of one's own reward is missing, or holds none."""
        self.names: Sequence[str] = config.reward_names
        self.weights = config.reward_weights or (1.0,) * len(self.names)
        self.given = config.rewards
        self.file = config.reward_file
        self.own = load_reward(self.file) if self.file else None

    def missing(self, record: Record) -> str:
        """Why a record's answers could not be judged, in a sentence; else an empty text."""
        found = ((name, missing_of(name, record)) for name in self.given)
        return next(
            (f"the reward {n} has nothing to judge by: there is {m}" for n, m in found if m), ""
        )

    def of(self, prompt: str, answer: str, ended: bool, record: Record, where: str) -> list[float]:
        """Each reward of an answer.

        Args:
            prompt: the last user's turn.
            answer: the text.
            ended: whether it ended by itself.
            record: that of the prompt.
            where: its file and line, for messages.

        Raises:
            UserError: one's own reward failed, or gave no finite number; the record is named.
        """
        found = [
            float(ended) if name == "ended" else VERDICTS[name](answer, record)
            for name in self.given
        ]
        return [*found, self.own_of(prompt, answer, record, where)] if self.own else found

    def own_of(self, prompt: str, answer: str, record: Record, where: str) -> float:
        """One's own reward; raises as `of`."""
        assert self.own is not None
        try:
            value = self.own(prompt, answer, record)
            number = float(value)
        except (Exception, SystemExit) as error:
            reason = f"{type(error).__name__}: {' '.join(str(error).split())}"
            raise UserError(
                f"{self.file}: reward failed with {reason} on the record {where} and the answer "
                f"{answer!r:.80}"
            ) from error
        if not abs(number) < LARGEST:
            raise UserError(
                f"{self.file}: reward returned {number} on the record {where} and the answer "
                f"{answer!r:.80}: return a finite number below {LARGEST:g}"
            )
        return number


def load_reward(path: Path) -> OwnReward:
    """The function `reward` of a Python file, which is run.

    Raises:
        UserError: the file is missing, cannot be run, or has no such function.
    """
    module = run_file("--reward_file", path)
    function: OwnReward | None = getattr(module, "reward", None)
    if not callable(function):
        raise UserError(f"--reward_file {path}: it has no function reward(prompt, answer, record)")
    return function
