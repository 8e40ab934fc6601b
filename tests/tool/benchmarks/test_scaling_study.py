"""The scaling study: its runs are the trainer's, and what it makes of them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest
from matplotlib import image

from cli import parse_config
from config import LADDER, UserError, rung
from tool import scaling_study
from tool.benchmarks import measuring, scaling
from tool.benchmarks.scaling import best_of_ladder, cost, parameters_of, planned
from tool.settings import ScalingStudyConfig
from train.run.auto_shape import ScalingLaw

pytestmark = pytest.mark.full

PLANTED = ScalingLaw(0.8, 0.5, 0.4, 0.9, 0.55)


class Trainer:
    """Stands in for the trainer's scripts: its models' losses follow the planted law."""

    def __init__(self) -> None:
        self.commands: list[list[str]] = []

    def __call__(self, script: str, *arguments: object) -> None:
        words = [str(word) for word in arguments]
        self.commands.append([script, *words])
        if script != "train/train_pretrain.py":
            return
        config = parse_config(["model", "pretrain", "paths"], "", words)  # refuses wrong flags
        assert config.pretrain.max_steps is not None
        tokens = config.pretrain.max_steps * config.pretrain.batch_size * config.pretrain.max_length
        size = parameters_of(config.model, config.model.vocab_size)
        summary = {
            "settings": {"vocab_size": config.model.vocab_size},
            "tokens_seen": tokens,
            "bits_per_byte": {"all": PLANTED.loss(size, tokens)},
            "seconds": 1.0,
            "machine": "a machine",
        }
        directory = config.paths.pretrained_model_dir
        directory.mkdir(parents=True, exist_ok=True)
        path = directory / "training_summary.json"
        path.write_text(json.dumps(summary), encoding="utf-8")


@pytest.fixture
def trainer(monkeypatch: pytest.MonkeyPatch) -> Trainer:
    """A trainer whose losses are made up."""
    made_up = Trainer()
    for module in (scaling, measuring):
        monkeypatch.setattr(module, "run_repository_script", made_up)
    return made_up


def test_the_study_finds_the_law_and_writes_table_json_and_picture(
    trainer: Trainer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    scaling_study.study(ScalingStudyConfig(output_dir=tmp_path / "study"))
    said = capsys.readouterr().out
    assert len(trainer.commands) == 1 + 4 * 3  # the tokenizer, four sizes by three lengths
    assert "0.8 + 0.5 / (parameters / 1M)^0.4 + 0.9 / (tokens / 1M)^0.55, off by 0.0%" in said
    result = json.loads((tmp_path / "study" / "scaling.json").read_text(encoding="utf-8"))
    assert result["law"]["irreducible"] == pytest.approx(0.8)
    assert [run["tokens"] for run in result["runs"][:3]] == [150 * 4096, 375 * 4096, 940 * 4096]
    assert result["machine"] == "a machine"
    sizes = [budget["parameters"] for budget in result["budgets"]]
    assert sizes == sorted(sizes)
    picture = image.imread(tmp_path / "study" / "scaling.png")
    assert picture.shape[1] > 1000


def test_the_best_size_is_the_one_with_the_lowest_loss_at_that_cost() -> None:
    best = best_of_ladder(PLANTED, [PLANTED], 1e14)
    losses = [PLANTED.loss(*cost(rung(*place), 1e14)) for place in LADDER]
    assert losses[best["rung"]] == min(losses)
    assert best["rungs_with_one_run_left_out"] == [best["rung"]]
    assert best["tokens"] == pytest.approx(cost(rung(*LADDER[best["rung"]]), 1e14)[1], abs=1)


def test_a_study_of_too_few_operations_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"--max_operations 1.1e\+13 leaves 2 runs"):
        planned(ScalingStudyConfig(output_dir=tmp_path, max_operations=1.1e13))


def test_losses_that_do_not_fall_are_told(
    trainer: Trainer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rising = ScalingLaw(5.0, -0.5, 0.4, -0.9, 0.55)
    monkeypatch.setattr("tests.tool.benchmarks.test_scaling_study.PLANTED", rising)
    with pytest.raises(UserError, match="do not fall with size and tokens; train longer"):
        scaling_study.study(ScalingStudyConfig(output_dir=tmp_path))


@pytest.mark.parametrize(
    ("flags", "reason"),
    [
        ({"rungs": (0, 1)}, "three or more of 0 to 7"),
        ({"rungs": (0, 1, 99)}, "three or more of 0 to 7"),
        ({"steps": (10, 10, 20)}, "three or more lengths"),
        ({"steps": ()}, "three or more lengths"),
    ],
)
def test_too_small_a_study_is_refused(flags: dict[str, Sequence[int]], reason: str) -> None:
    assert reason in ScalingStudyConfig(**flags).problems()[0]  # type: ignore[arg-type]


def test_a_run_that_fails_is_told(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"train_tokenizer.py ended with exit code 2"):
        scaling_study.study(
            ScalingStudyConfig(pretrain_files=(tmp_path / "none.jsonl",), output_dir=tmp_path)
        )
