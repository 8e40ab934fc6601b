"""Held-out questions: read with exact errors, asked greedily, judged strictly."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from config import ROOT, UserError
from model.chat import render_prompt
from model.tokenizer import EtudeTokenizer
from model.transformer import Etude
from train.measures.generations import Answer, ask, read_questions, report, table


def question(number: int, **changes: Any) -> dict[str, Any]:
    return {
        "id": f"capital-en-{number}",
        "language": "en",
        "category": "capital",
        "messages": [{"role": "user", "content": f"What is {number}?"}],
        "accepted": [["Paris"]],
        "rejected": [],
        "min_characters": 0,
        **changes,
    }


def answer(
    right: bool, ended: bool = True, category: str = "capital", language: str = "en"
) -> Answer:
    return Answer("id", language, category, "?", "!", right, ended)


def write(path: Path, records: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(r) + "\n" for r in records), encoding="utf-8")
    return path


def test_a_question_without_a_field_is_named_by_line(tmp_path: Path) -> None:
    broken = {k: v for k, v in question(2).items() if k != "accepted"}
    path = write(tmp_path / "q.jsonl", [question(1), broken])
    with pytest.raises(UserError, match=r"q\.jsonl:2: a question needs"):
        read_questions(path)


def test_a_question_must_end_with_the_user(tmp_path: Path) -> None:
    messages = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
    path = write(tmp_path / "q.jsonl", [question(1, messages=messages)])
    with pytest.raises(UserError, match=r"q\.jsonl:1: the messages must end with a user's turn"):
        read_questions(path)


def test_an_answer_that_is_cut_is_wrong_even_if_it_holds_the_words(
    model: Etude, tokenizer: EtudeTokenizer
) -> None:
    anything = question(1, accepted=[[""]])
    (judged,) = ask(model, tokenizer, [anything], max_tokens=1)
    assert not judged.ended
    assert not judged.right


def test_the_answer_is_the_greedy_one(model: Etude, tokenizer: EtudeTokenizer) -> None:
    (judged,) = ask(model, tokenizer, [question(1)], max_tokens=1)
    prompt = render_prompt(tokenizer, question(1)["messages"])
    logits = model(torch.tensor([prompt]))[0, -1]
    assert judged.answer == tokenizer.decode([int(logits.argmax())])


def test_shares_are_counted_by_category_and_language() -> None:
    answers = [answer(True), answer(False), answer(True, language="zh"), answer(False, ended=False)]
    result = report(answers)
    assert result["right"] == 0.5
    assert result["ended"] == 0.75
    assert result["by_category"] == {"capital": {"en": pytest.approx(1 / 3), "zh": 1.0}}
    assert "33%" in table(result)
    assert "100%" in table(result)


def test_the_script_writes_every_answer_and_the_shares(model_dir: Path, tmp_path: Path) -> None:
    questions = write(tmp_path / "q.jsonl", [question(1), question(2, language="zh")])
    script = str(ROOT / "tool" / "evaluate.py")
    flags = [f"--model_dir={model_dir}", f"--questions={questions}", "--max_tokens=3"]
    done = subprocess.run(
        [sys.executable, script, *flags],
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "of 2 questions" in done.stdout
    answers = (model_dir / "answers.jsonl").read_text(encoding="utf-8").splitlines()
    assert [json.loads(line)["id"] for line in answers] == ["capital-en-1", "capital-en-2"]
    shares = json.loads((model_dir / "evaluation.json").read_text(encoding="utf-8"))
    assert shares["questions"] == 2
