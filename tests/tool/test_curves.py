"""The picture of a run."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from config import ROOT, UserError
from tool.curves import draw, running_mean


def make_run(directory: Path) -> Path:
    directory.mkdir()
    lines: list[dict[str, float]] = []
    for step in range(1, 21):
        lines.append({"step": step, "tokens": step * 1000, "loss": 8.0 / step})
        if step % 10 == 0:
            bits = {"bits_per_byte": 3.0 / step, "bits_per_byte_han": 4.0 / step}
            lines.append({"step": step, "tokens": step * 1000, **bits})
    text = "".join(json.dumps(line) + "\n" for line in lines)
    (directory / "loss_log.jsonl").write_text(text, encoding="utf-8")
    return directory


def test_both_panels_show_every_run(tmp_path: Path) -> None:
    runs = [make_run(tmp_path / name) for name in ("etude_pretrained_model", "etude_sft_model")]
    left, right = draw(runs).axes
    assert len(left.lines) == 4  # each step, and the running mean
    labels = [line.get_label() for line in right.lines]
    assert labels == ["pretrained", "pretrained, han", "sft", "sft, han"]
    assert list(right.lines[0].get_ydata()) == pytest.approx([0.3, 0.15])  # type: ignore[arg-type]


def test_a_directory_without_a_log_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"loss_log\.jsonl: there is no loss log"):
        draw([tmp_path])


def test_a_run_without_a_step_is_refused(tmp_path: Path) -> None:
    (tmp_path / "loss_log.jsonl").write_text("", encoding="utf-8")
    with pytest.raises(UserError, match="no training step yet"):
        draw([tmp_path])


def test_the_running_mean_of_a_constant_is_that_constant() -> None:
    assert running_mean([2.0] * 5, 0.9) == pytest.approx([2.0] * 5)
    assert running_mean([0.0, 1.0], 0.5) == pytest.approx([0.0, 2 / 3])


def test_the_script_writes_a_png(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    command = [sys.executable, str(ROOT / "tool" / "plot_training.py"), "--model_dirs", str(run)]
    done = subprocess.run([*command, "--output", "curves.png"], cwd=tmp_path, check=False)
    assert done.returncode == 0
    assert (tmp_path / "curves.png").read_bytes().startswith(b"\x89PNG")
    assert not list(tmp_path.glob("*.tmp"))
