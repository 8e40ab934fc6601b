"""Before and after: measured on the same records, kept over a kill, and told in numbers."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from config import EtudeConfig, PathConfig, PretrainConfig, SFTConfig, UserError
from model.chat import render
from model.directory.pretrained import load_pretrained
from model.tokenizer import EtudeTokenizer
from tests.train.conftest import Workspace
from tests.train.test_dpo import pair, stage_of
from train.distributed import World
from train.measures.likelihood import Outcome
from train.measures.scores import Score, change, forgotten
from train.run.report import BEFORE, REPORT, read_watch_files, table
from train.stage import Stage
from train.train_sft import fine_tuning
from train.trainer import train

NAMES = ("fox", "river", "moon", "狐狸")


@pytest.fixture
def place(workspace: Workspace, tokenizer: EtudeTokenizer) -> Workspace:
    """The workspace with a model to start from, and files to watch."""
    choices = [
        {"question": f"My name is {name}.", "choices": [f"Hello, {name}!", "moon"], "answer": 0}
        for name in NAMES
    ]
    workspace.write("choices.jsonl", choices)
    workspace.write("kept.jsonl", [{"text": f"the fox sees {name}, 小 {name}"} for name in NAMES])
    workspace.add_start(tokenizer)
    return workspace


def stage_to(place: Workspace, output: str, mixed: Sequence[Path] = (), **settings: Any) -> Stage:
    """Fine-tuning on the conversations of the workspace, or on files that are mixed."""
    defaults: dict[str, Any] = {
        "batch_size": 4,
        "max_length": 64,
        "max_steps": 6,
        "save_steps": 3,
        "eval_steps": 3,
        "validation_every": 10,
        "learning_rate": 1e-2,
        "compile": False,
        "dtype": "float32",
        "sample_tokens": 0,
        "picture": False,
        "watch_files": tuple(place.path / name for name in ("choices.jsonl", "kept.jsonl")),
    }
    paths = PathConfig(
        sft_files=tuple(mixed) or (place.path / "chats.jsonl",),
        pretrained_model_dir=place.path / "start",
        sft_model_dir=place.path / output,
        cache_dir=place.path / "cache",
    )
    return fine_tuning(EtudeConfig(sft=SFTConfig(**defaults | settings), paths=paths), World())


def report_of(place: Workspace, output: str) -> dict[str, Any]:
    text = (place.path / output / REPORT).read_text(encoding="utf-8")
    return {name: value for name, value in json.loads(text).items() if name != "seconds"}


def evaluations(place: Workspace, output: str) -> list[dict[str, Any]]:
    text = (place.path / output / "loss_log.jsonl").read_text(encoding="utf-8")
    return [line for line in map(json.loads, text.splitlines()) if "bits_per_byte" in line]


def test_a_report_says_what_the_log_says_and_by_how_much(
    place: Workspace, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train(stage_to(place, "out"), World()) == 0
    report, lines = report_of(place, "out"), evaluations(place, "out")
    assert [line["step"] for line in lines] == [0, 3, 6]
    names = {"held out": "bits_per_byte"}
    names["kept.jsonl"] = "watch kept.jsonl: bits per byte"
    names["choices.jsonl"] = "watch choices.jsonl: multiple choice"
    assert [row["file"] for row in report["rows"]] == ["held out", "choices.jsonl", "kept.jsonl"]
    for row in report["rows"]:
        assert row["before"] == pytest.approx(lines[0][names[row["file"]]], rel=1e-6)
        assert row["after"] == pytest.approx(lines[-1][names[row["file"]]], rel=1e-6)
        assert row["low"] <= row["difference"] <= row["high"]
    held_out = report["rows"][0]
    assert (held_out["records"], held_out["verdict"]) == (12, "after is better")
    assert held_out["high"] < 0
    said = capsys.readouterr().out
    assert "measured before training in" in said
    assert f"{held_out['after']:8.4f}" in said


def test_a_run_that_was_killed_reports_the_same(place: Workspace) -> None:
    assert train(stage_to(place, "whole"), World()) == 0
    expected = report_of(place, "whole")
    for number, damage in enumerate(("kept", "removed", "damaged")):
        run = place.path / f"resumed{number}"
        shutil.copytree(place.path / "whole" / "checkpoints", run / "checkpoints")
        shutil.rmtree(run / "checkpoints" / "step-00000006")
        for name in ("loss_log.jsonl", "metrics.jsonl"):
            shutil.copy(place.path / "whole" / name, run)
        before = run / "checkpoints" / BEFORE
        if damage == "removed":
            shutil.rmtree(before)
        if damage == "damaged":
            content = (before / "before.json").read_bytes()
            (before / "before.json").write_bytes(content.replace(b"1", b"2", 1))
        assert train(stage_to(place, run.name), World()) == 0
        assert report_of(place, run.name) == expected
        log = (run / "loss_log.jsonl").read_bytes()
        assert log == (place.path / "whole" / "loss_log.jsonl").read_bytes()


def test_a_file_that_is_watched_from_the_second_start_on_has_a_before_too(
    place: Workspace,
) -> None:
    assert train(stage_to(place, "whole"), World()) == 0
    run = place.path / "later"
    assert train(stage_to(place, "later", watch_files=()), World()) == 0
    for name in ("step-00000006", BEFORE):
        shutil.rmtree(run / "checkpoints" / name)
    (run / "training_summary.json").unlink()
    assert train(stage_to(place, "later"), World()) == 0
    assert report_of(place, "later") == report_of(place, "whole")


def test_a_complete_run_says_what_it_does_not_measure(
    place: Workspace, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train(stage_to(place, "out", watch_files=(), max_steps=1), World()) == 0
    assert train(stage_to(place, "out", max_steps=1), World()) == 0
    assert "is complete: choices.jsonl, kept.jsonl; evaluate" in capsys.readouterr().out


def test_a_dry_run_measures_nothing(place: Workspace) -> None:
    assert train(stage_to(place, "out", dry_run=True), World()) == 0
    assert not (place.path / "out").exists()


def test_watched_files_are_read_before_anything_else(place: Workspace) -> None:
    (place.path / "x").mkdir()
    place.write("x/kept.jsonl", [{"text": ""}])
    files = (place.path / "kept.jsonl", place.path / "x" / "kept.jsonl")
    with pytest.raises(UserError, match=r"--watch_files: two files are named kept\.jsonl"):
        read_watch_files(PretrainConfig(watch_files=files))
    with pytest.raises(UserError, match=r"kept\.jsonl:1: "):
        train(stage_to(place, "out", watch_files=files[1:]), World())
    assert not (place.path / "out").exists()
    (few,) = read_watch_files(PretrainConfig(watch_files=files[:1], watch_records=2))
    assert len(few.records) == 2


def test_held_out_pairs_are_judged_as_by_hand(place: Workspace, tokenizer: EtudeTokenizer) -> None:
    place.write("pairs.jsonl", [pair(n) for n in range(90)])
    stage = stage_of(place, max_steps=12)
    assert train(stage, World()) == 0
    report = report_of(place, "out")
    rows = {row["measure"]: row for row in report["rows"]}
    assert rows["pairs right"]["before"] == 0.5  # the model is its own reference
    # "Hello" is shorter than "Go away", by characters and by tokens.
    assert rows["pairs right"]["chance"] == 0
    for when, directory in (("before", "start"), ("after", "out")):
        model, _ = load_pretrained(place.path / directory)
        found = []
        for record in (pair(n) for n in range(9, 90, 10)):
            averages = []
            for name in ("chosen", "rejected"):
                turns = [*record["conversations"], {"role": "assistant", "content": record[name]}]
                ids, mask = render(tokenizer, turns)
                log_probs = model(torch.tensor([ids[:-1]]))[0].log_softmax(-1).detach()
                chosen = [
                    float(log_probs[n, ids[n + 1]]) for n in range(len(ids) - 1) if mask[n + 1]
                ]
                averages.append(np.mean(chosen))
            found.append(averages[0] > averages[1])
        assert rows["chosen likelier"][when] == pytest.approx(np.mean(found))


def score(*values: float, asked: str = "?") -> Score:
    outcomes = [
        Outcome("ab"[number % 2], value, asked=asked, said=str(value))
        for number, value in enumerate(values)
    ]
    return Score("q.jsonl", "right answers", "higher", outcomes, 0.25)


def test_what_was_right_and_is_wrong_is_forgotten() -> None:
    before, after = score(1, 1, 0, 1, 0.5), score(0, 1, 1, 1, 0)
    found = forgotten(before, after)
    assert found is not None
    assert (found["right_before"], found["forgotten"], found["learned"]) == (3, 1, 1)
    assert found["by_group"]["a"] == {"right_before": 1, "forgotten": 1, "learned": 1}
    example = {"group": "a", "question": "?", "before": "1", "after": "0"}
    assert found["examples"] == [example]
    assert forgotten(score(1, asked=""), score(0, asked="")) is None
    lines = table({"rows": [change(before, after)], "forgotten": [found]})
    assert lines[2] == (
        "q.jsonl: right answers: 1 of 3 that were right before are wrong now, 1 the other way "
        "round; forgotten: a 1"
    )
    assert lines[3] == "  ? | 1 -> 0"


def test_a_difference_is_of_the_same_records_drawn_again() -> None:
    draw = np.random.default_rng(5)
    hard = draw.normal(size=400)  # how hard a record is: of both alike
    first = score(*hard.tolist())
    second = score(*(hard + 0.05 + 0.1 * draw.normal(size=400)).tolist())
    row = change(first, second)
    error = 0.1 / math.sqrt(400)  # that of the difference, not of a score
    assert row["difference"] == pytest.approx(0.05, abs=3 * error)
    assert row["high"] - row["low"] == pytest.approx(2 * 1.96 * error, rel=0.15)
    assert Score.of(json.loads(json.dumps(first.plain()))) == first
