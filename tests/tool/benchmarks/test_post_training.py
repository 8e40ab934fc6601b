"""The benchmarks of post-training keep pairs of a prompt together, compare record by record, and
train what they say."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from config import UserError
from model.directory.storage import jsonl_text
from tool.benchmarks import forgetting, preference_folds, stage_speed
from tool.benchmarks.preference_folds import Pairs
from tool.settings import ForgettingConfig, PreferenceFoldsConfig, StageSpeedConfig
from train.run.report import REPORT


def pair(prompt: str, chosen: str, rejected: str) -> dict[str, Any]:
    return {
        "conversations": [{"role": "user", "content": prompt}],
        "chosen": chosen,
        "rejected": rejected,
    }


class Letters:
    """A tokenizer whose tokens are letters."""

    def encode(self, text: str) -> list[int]:
        return [ord(letter) for letter in text]


@pytest.fixture
def pairs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[PreferenceFoldsConfig, Pairs]:
    """Six pairs of which the fourth does not fit; the first and the last have one prompt."""
    records = [pair(f"q{n}", "aaaa" if n % 2 else "a", "bb") for n in range(5)]
    path = tmp_path / "pairs.jsonl"
    path.write_text(jsonl_text([*records, pair("q0", "aaa", "bbb")]), encoding="utf-8")
    fit, before = np.array([0, 1, 2, 4, 5]), np.array([[-2.0, -1.0]] * 5)
    monkeypatch.setattr(preference_folds, "log_probs_of", lambda *_: (fit, before))
    monkeypatch.setattr(preference_folds, "load_pretrained", lambda _: (None, Letters()))
    config = PreferenceFoldsConfig(
        model_dir=tmp_path, preference_files=(path,), folds=2, output_dir=tmp_path / "out"
    )
    config.output_dir.mkdir()
    return config, preference_folds.read(config)


def test_pairs_of_one_prompt_are_in_one_fold(pairs: tuple[PreferenceFoldsConfig, Pairs]) -> None:
    _, found = pairs
    assert found.folds.tolist() == [0, 1, 0, 0, 0]
    assert found.longer.tolist() == [0, 1, 0, 0, 0.5]
    assert found.tokens.tolist() == [[2, 3], [5, 3], [2, 3], [2, 3], [4, 4]]


def test_a_loss_is_measured_on_what_was_kept_out(
    pairs: tuple[PreferenceFoldsConfig, Pairs], monkeypatch: pytest.MonkeyPatch
) -> None:
    config, found = pairs
    better = {0: [[-1.0, -1.0]] * 4, 1: [[-9.0, -1.0]]}  # before: -2 and -1
    monkeypatch.setattr(preference_folds, "train_fold", lambda *given: np.array(better[given[4]]))
    name, right, _, over, bits, texts, moved = preference_folds.row(config, found, "dpo", 1e-4)
    assert (name, right, texts, moved) == ("dpo, rate 0.0001", "80.0%", "-", "-1 / +0")
    assert over.startswith("+50.0%")  # 4 of 5, and the longer answer is right in 1.5
    assert bits.startswith(f"{(4 * -1 + 7) / np.log(2) / 10:+.3f}")  # 10 bytes of chosen answers


def test_each_fold_trains_on_the_others_alone(
    pairs: tuple[PreferenceFoldsConfig, Pairs], monkeypatch: pytest.MonkeyPatch
) -> None:
    config, found = pairs
    commands: list[list[str]] = []
    monkeypatch.setattr(
        preference_folds,
        "run_repository_script",
        lambda *words: commands.append([*map(str, words)]),
    )
    place = config.output_dir / "kto"
    preference_folds.train_fold(config, found, "kto", 1e-4, 1, place)
    kept = [json.loads(line) for line in (place / "pairs.jsonl").read_text("utf-8").splitlines()]
    assert kept == [pair("q1", "aaaa", "bb")]
    trained = (place / "train.jsonl").read_text("utf-8")
    assert trained.count('"label": true') == trained.count('"label": false') == 4
    assert "q1" not in trained
    assert commands[0][-2:] == ["--validation_every", "0"]  # the first fold alone has curves
    preference_folds.train_fold(config, found, "dpo", 1e-4, 0, place)
    assert commands[1][-2:] == ["--validation_files", str(place / "held_out.jsonl")]


def test_a_replay_is_mixed_in_and_the_report_is_a_row(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The run's own report says what was gained and forgotten."""
    commands: list[list[str]] = []

    def run(*given: object) -> None:
        words = [*map(str, given)]
        commands.append(words)
        place = Path(words[words.index("--sft_model_dir") + 1])
        place.mkdir()
        bits = {"before": 4.0, "after": 2.0}
        right = {"before": 0.9, "after": 0.7, "difference": -0.2, "low": -0.25, "high": -0.15}
        report = {"rows": [bits, right], "forgotten": [{"forgotten": 80, "learned": 8}]}
        (place / REPORT).write_text(json.dumps(report), encoding="utf-8")

    monkeypatch.setattr(forgetting, "run_repository_script", run)
    config = ForgettingConfig(output_dir=tmp_path, domain_files=(Path("new.jsonl"),))
    cells, point = forgetting.row(config, "LoRA, rank 8, 30% replay", 0.3)
    assert cells[1:4] == ("0.0009", "4.000 to 2.000", "90.0% to 70.0%")
    assert cells[4:] == ("-20.0% (-25.0% to -15.0%)", "80", "8")
    assert point == (2.0, 70.0)
    (words,) = commands
    place = words.index("--sft_files")
    assert words[place + 1] == "new.jsonl:0.7"
    assert words[place + 2].endswith("sft_sample.jsonl:0.3")
    assert words[words.index("--lora_rank") + 1] == "8"


def test_a_stage_is_compared_round_by_round() -> None:
    def took(seconds: float, rollout: float = 0.0) -> dict[str, float]:
        return {
            "tokens": 100.0,
            "seconds": seconds,
            "cpu_seconds": seconds,
            "rollout_seconds": rollout,
        }

    found = {"SFT, AdamW": [took(1), took(10)], "DPO, AdamW": [took(2), took(20)]}
    row = stage_speed.row(found, "DPO, AdamW", "SFT, AdamW")
    assert row[2] == row[4] == "0.50 (0.50 to 0.50)"
    assert stage_speed.row({"GRPO": [took(4, 1)]}, "GRPO", "GRPO")[-1] == "25% (25% to 25%)"


def test_a_name_that_is_not_in_the_table_is_refused() -> None:
    with pytest.raises(UserError, match="stages: there is no 'PPO'; use some of: SFT, AdamW;"):
        stage_speed.compare(StageSpeedConfig(stages=("PPO",)))
