"""A file of prompts, answered."""

from __future__ import annotations

import json
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from config import ROOT, SamplingConfig
from inference.engine.engine import generate_batch
from model.chat import Message, render_prompt
from model.directory.pretrained import load_pretrained, save_pretrained
from model.tokenizer import EtudeTokenizer
from model.transformer import Etude
from tests.reliability.launcher import run_warm, start_warm


@pytest.fixture
def place(tmp_path: Path, model: Etude, tokenizer: EtudeTokenizer) -> Path:
    """A folder with a chat model that ends some of its answers, and prompts."""
    with torch.no_grad():  # the end of a turn becomes as likely as other tokens
        model.lm_head.weight[tokenizer.end_of_turn_id] *= 1.5
    save_pretrained(tmp_path / "teacher", model, tokenizer, {}, is_chat=True)
    write(tmp_path, [{"conversations": turns(n)} for n in range(40)])
    return tmp_path


def turns(number: int) -> list[Message]:
    return [{"role": "user", "content": f"My name is fox {number}."}]


def write(place: Path, records: Sequence[Any], name: str = "prompts.jsonl") -> None:
    text = "".join(json.dumps(record) + "\n" for record in records)
    (place / name).write_text(text, encoding="utf-8")


def command(*more: str) -> list[str]:
    flags = ["--model_dir=teacher", "--input_files=prompts.jsonl", "--output=out.jsonl"]
    flags += ["--max_tokens=24", "--temperature=1", "--top_k=0", "--top_p=1", "--device=cpu"]
    return [sys.executable, str(ROOT / "tool" / "answer_file.py"), *flags, *more]


def read(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_answers_are_those_of_the_engine_and_all_are_counted(place: Path) -> None:
    code, output = run_warm(command("--answers=2", "--seed=5"), place)
    assert code == 0, output
    model, tokenizer = load_pretrained(place / "teacher")
    prompts = [render_prompt(tokenizer, turns(n // 2)) for n in range(80)]
    sampling = SamplingConfig(temperature=1, top_k=0, top_p=1, max_tokens=24, seed=5)
    made = generate_batch(model, prompts, sampling, tokenizer.end_ids(is_chat=True))
    expected, cut, empty = [], 0, 0
    for number, result in enumerate(made):
        text = tokenizer.decode(result.ids).strip()
        cut += result.finish_reason != "stop"
        empty += result.finish_reason == "stop" and not text
        if result.finish_reason == "stop" and text:
            expected.append([*turns(number // 2), {"role": "assistant", "content": text}])
    assert 5 < len(expected) < 75
    assert [record["conversations"] for record in read(place / "out.jsonl")] == expected
    assert f"{len(expected)} answers in out.jsonl" in output
    assert f"{cut} not ended by themselves" in output
    assert (f"{empty} empty" in output) == (empty > 0)
    assert not list(place.glob("*.part*"))


@pytest.mark.full
def test_conversations_of_any_kind_are_answered(place: Path) -> None:
    answer = {"role": "assistant", "content": "Hi."}
    records: list[dict[str, Any]] = [
        {"messages": [{"role": "system", "content": "Be kind."}, *turns(1), answer]},
        {"conversations": [*turns(1), answer, *turns(2)], "answers": ["x"]},
        {"conversations": turns(3), "chosen": "a", "rejected": "b"},
        {"conversations": [{"role": "user", "content": "fox " * 200}]},
    ]
    write(place, records)
    code, output = run_warm(command("--keep_cut", "--answers=8"), place)
    assert code == 0, output
    found = [record["conversations"] for record in read(place / "out.jsonl")]
    lengths = [len(conversation) for conversation in found]
    assert list(dict.fromkeys(lengths)) == [3, 4, 2]  # in their order; an answer may be empty
    assert found[lengths.index(4)][:3] == records[1]["conversations"]
    assert all(conversation[-1]["content"] not in ("", "Hi.") for conversation in found)
    assert "8 without room in the model's context" in output


@pytest.mark.skipif(sys.platform == "win32", reason="sends POSIX signals")
def test_killed_and_run_again_it_ends_with_the_same_bytes(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    more = ("--answers=12", "--slots=4", "--max_tokens=40")
    assert run_warm(command(*more), place)[0] == 0
    expected = (place / "out.jsonl").read_bytes()
    (place / "out.jsonl").unlink()
    for _ in range(30):
        started = start_warm(command(*more), place)
        state = place / "out.jsonl.part.json"
        before = state.read_bytes() if state.exists() else b""
        while started.running() and (not state.exists() or state.read_bytes() == before):
            time.sleep(0.001)
        started.send(signal.SIGKILL)
        if started.wait() == 0 or (place / "out.jsonl").exists():
            break
    else:
        assert run_warm(command(*more), place)[0] == 0
    assert (place / "out.jsonl").read_bytes() == expected
    assert run_warm(command(*more), place)[0] == 2  # it is there
    assert not list(place.glob("*.part*"))


def test_what_was_begun_with_other_settings_is_not_mixed(place: Path) -> None:
    (place / "out.jsonl.part").write_bytes(b"half")
    state = {"identity": "other", "counts": {"done": 1, "size": 4}}
    (place / "out.jsonl.part.json").write_text(json.dumps(state), encoding="utf-8")
    code, output = run_warm(command(), place)
    assert code == 2
    assert "begun with another model, data or settings" in output
    assert (place / "out.jsonl.part").read_bytes() == b"half"


@pytest.mark.full
@pytest.mark.parametrize(
    ("more", "words"),
    [
        (["--model_dir=nowhere"], "nowhere: there is no model"),
        (["--input_files=none.jsonl"], "none.jsonl: there is no such file"),
        (["--input_files=texts.jsonl"], "texts.jsonl:1: found the key"),
        (["--input_files=users.jsonl"], "users.jsonl:1: no user's turn"),
        (["--answers=2", "--temperature=0"], "all answers would be the same"),
        (["--seed=None"], "seed is None"),
        (["--output=prompts.jsonl"], "prompts.jsonl is there"),
        (["--model_dir=base"], "only continues texts"),
    ],
)
def test_a_mistake_gets_one_sentence(place: Path, more: list[str], words: str) -> None:
    write(place, [{"text": "a text"}], "texts.jsonl")
    write(place, [{"conversations": [{"role": "system", "content": "a"}]}], "users.jsonl")
    model, tokenizer = load_pretrained(place / "teacher")
    save_pretrained(place / "base", model, tokenizer, {}, is_chat=False)
    before = (place / "prompts.jsonl").read_bytes()
    code, output = run_warm(command(*more), place)
    assert code == 2, output
    assert words in output
    assert "Traceback" not in output
    assert (place / "prompts.jsonl").read_bytes() == before
    assert not (place / "out.jsonl").exists()
