"""What answers are rewarded for, and what is said when a reward cannot be given."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from config import GRPOConfig, UserError
from data_process.records.kinds import PROBLEMS, kind_of
from train.rollouts.rewards import Rewards, last_number, load_reward

PROMPT = [{"role": "user", "content": "How much is 5 + 7?"}]


def record(**fields: Any) -> dict[str, Any]:
    return {"conversations": PROMPT, **fields}


def rewarded(name: str, answer: str, ended: bool = True, **fields: Any) -> float:
    rewards = Rewards(GRPOConfig(rewards=(name,)))  # type: ignore[arg-type]
    assert rewards.missing(record(**fields)) == ""
    (found,) = rewards.of("How much is 5 + 7?", answer, ended, record(**fields), "a.jsonl:1")
    return found


@pytest.mark.parametrize(
    ("name", "answer", "fields", "expected"),
    [
        ("answer", "5 + 7 = 12.", {"answers": ["12"]}, 1),
        ("answer", "It is 120.", {"answers": ["12"]}, 0),
        ("answer", "等于十二。", {"answers": ["12", "十二"]}, 1),
        ("answer", "a red fox", {"answers": [["fox", "red"]]}, 1),
        ("answer", "a red cat", {"answers": [["fox", "red"]]}, 0),
        ("answer", "RED", {"answers": ["red"]}, 1),
        ("answer", "I am Etude.", {"answers": ["Etude"], "rule": {"rejected": ["I am"]}}, 0),
        ("answer", "", {"answers": ["12"]}, 0),
        ("exact", " Paris\n", {"answers": ["paris"]}, 1),
        ("exact", "Paris.", {"answers": ["paris"]}, 0),
        ("number", "5 + 7 = 12.", {"answers": ["12"]}, 1),
        ("number", "12 is 5 + 7", {"answers": ["12"]}, 0),
        ("number", "about 1,200.50", {"rule": {"number": 1200.5}}, 1),
        ("number", "it is −3", {"rule": {"number": -3}}, 1),
        ("number", "it is 3", {"rule": {"number": -3}}, 0),
        ("number", "none", {"answers": ["the answer is 4"]}, 0),
        ("json", '{"b": null, "a": 1}', {"json": {"a": 1, "b": None}}, 1),
        ("json", '{"a": 1}', {"json": {"a": 1, "b": None}}, 0),
        ("json", "a 1", {"json": {"a": 1}}, 0),
        ("format", "<b>\n12</b>", {"rule": {"format": "<b>.*</b>"}}, 1),
        ("format", "x <b>12</b>", {"rule": {"format": "<b>.*</b>"}}, 0),
        ("length", "abc", {"rule": {"min_characters": 3, "max_characters": 3}}, 1),
        ("length", "abcd", {"rule": {"max_characters": 3}}, 0),
        ("length", "  a  ", {"rule": {"min_characters": 3}}, 0),
        ("language", "twelve", {}, 1),
        ("language", "十二", {}, 0),
        ("language", "十二", {"rule": {"language": "zh"}}, 1),
        ("language", "", {}, 0),
    ],
)
def test_rewards_that_come_with_the_kit(
    name: str, answer: str, fields: dict[str, Any], expected: float
) -> None:
    assert rewarded(name, answer, **fields) == expected


def test_an_answer_that_was_cut_did_not_end() -> None:
    assert rewarded("ended", "12") == 1
    assert rewarded("ended", "12", ended=False) == 0


@pytest.mark.parametrize(
    ("text", "expected"),
    [("3 - 4", 4), ("3-4", -4), ("1,000", 1000), ("2.50 kg", 2.5), ("v1.2.", 1.2), ("", None)],
)
def test_the_last_number_of_a_text(text: str, expected: float | None) -> None:
    assert last_number(text) == expected


@pytest.mark.parametrize(
    ("name", "fields", "words"),
    [
        ("answer", {}, 'no "answers"'),
        ("exact", {"rule": {"number": 3}}, 'no "answers"'),
        ("number", {"answers": ["red"]}, "no number"),
        ("json", {"answers": ["red"]}, 'no "json"'),
        ("format", {"answers": ["red"]}, 'no rule "format"'),
        ("length", {"rule": {"number": 1}}, 'no rule "min_characters"'),
        ("language", {"rule": {"language": "klingon"}}, "klingon"),
    ],
)
def test_a_record_that_a_reward_cannot_judge_by_is_refused(
    name: str, fields: dict[str, Any], words: str
) -> None:
    found = Rewards(GRPOConfig(rewards=("ended", name))).missing(record(**fields))  # type: ignore[arg-type]
    assert f"the reward {name}" in found
    assert words in found


def own(path: Path, text: str) -> Rewards:
    file = path / "my_reward.py"
    file.write_text(text, encoding="utf-8")
    return Rewards(GRPOConfig(rewards=("ended",), reward_file=file, reward_weights=(1.0, 0.5)))


def test_ones_own_reward_gets_prompt_answer_and_record(tmp_path: Path) -> None:
    body = "return prompt.count('7') + answer.count('1') + record['bonus']"
    rewards = own(tmp_path, f"def reward(prompt, answer, record):\n    {body}\n")
    assert rewards.names == ("ended", "my_reward")
    found = rewards.of("5 + 7?", "1112", True, record(bonus=10), "a.jsonl:3")
    assert found == [1.0, 14.0]


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("raise KeyError('gold')", "KeyError: 'gold'"),
        ("return float('nan')", "returned nan"),
        ("return float('inf')", "returned inf"),
        ("return None", "TypeError"),
        ("return 'good'", "ValueError"),
        ("return 1 / 0", "ZeroDivisionError"),
        ("return 1e300", "returned 1e+300"),
        ("return 10**400", "OverflowError"),
        ("raise SystemExit(0)", "SystemExit"),
    ],
)
def test_a_reward_that_fails_names_the_record(tmp_path: Path, body: str, words: str) -> None:
    rewards = own(tmp_path, f"def reward(prompt, answer, record):\n    {body}\n")
    with pytest.raises(UserError) as failure:
        rewards.of("5 + 7?", "twelve", True, record(), "a.jsonl:3")
    message = str(failure.value)
    assert words in message
    assert "a.jsonl:3" in message
    assert "'twelve'" in message
    assert "my_reward.py" in message
    assert "\n" not in message


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("none.py", None, "there is no such file"),
        ("a.py", "def reward(:", "SyntaxError"),
        ("b.py", "import nothing_of_the_kind", "ModuleNotFoundError"),
        ("c.py", "value = 1", "no function reward"),
        ("e.py", "raise SystemExit(0)", "SystemExit"),
        ("d.txt", "def reward(p, a, r): return 1", "must end with .py"),
    ],
)
def test_a_file_without_a_reward_is_refused(
    tmp_path: Path, name: str, text: str | None, words: str
) -> None:
    if text is not None:
        (tmp_path / name).write_text(text, encoding="utf-8")
    with pytest.raises(UserError, match=words):
        load_reward(tmp_path / name)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"answers": []}, "is empty"),
        ({"answers": "12"}, "must be a list"),
        ({"answers": [12]}, "must be a list"),
        ({"answers": [""]}, "must be a list"),
        ({"answers": [["a", ""]]}, "must be a list"),
        ({"rule": 3}, "must be an object"),
        ({"rule": {"nummer": 3}}, "'nummer' is not known"),
        ({"rule": {"number": "3"}}, "'number' is a text"),
        ({"rule": {"number": True}}, "'number' is true or false"),
        ({"rule": {"format": "("}}, "no regular expression"),
        ({"rule": {"rejected": [1]}}, "list of texts"),
        ({"conversations": [*PROMPT, {"role": "assistant", "content": "12"}]}, "end with a user"),
        ({"conversations": []}, "non-empty"),
    ],
)
def test_what_is_wrong_with_a_prompt_is_said(fields: dict[str, Any], words: str) -> None:
    problems = list(PROBLEMS["rl"]({**record(), "answers": ["12"], **fields}))
    assert len(problems) == 1
    assert words in problems[0]


def test_a_prompt_is_known_by_its_answers_or_its_rule() -> None:
    assert kind_of(record(answers=["12"])) == "rl"
    assert kind_of(record(rule={"number": 12})) == "rl"
    assert kind_of(record()) == "conversations"
    assert list(PROBLEMS["rl"](record())) == []  # for one's own reward
    assert next(iter(PROBLEMS["rl"]({"text": "a"}))).startswith("found the keys")
