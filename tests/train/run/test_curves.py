"""The picture of training runs."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from config import ROOT, UserError
from tool.settings import PlotConfig
from train.run.curves import Run, distinct_names, draw, read_runs, running_mean
from train.run.picture import draw_picture

SCRIPT = ROOT / "tool" / "plot_training.py"
SKIPPED = {12: None, 15: 90.0}
"""Steps of the made-up runs that were skipped, and their loss."""


def make_run(directory: Path, trained_tokens: int = 1000, log: str = "metrics.jsonl") -> Path:
    """A run of 40 steps whose loss begins at 80; two steps are skipped, the last line is torn."""
    directory.mkdir(parents=True)
    lines: list[dict[str, Any]] = []
    for step in range(1, 41):
        at = {"step": step, "tokens": step * 1000}
        clock = {"seconds": 3.0 * step} if log == "metrics.jsonl" else {}
        line: dict[str, Any] = {**at, "loss": 80.0 / step, "grad_norm": 1.0, "learning_rate": 1e-3}
        line["trained_tokens"] = trained_tokens
        if step in SKIPPED:
            line |= {"loss": SKIPPED[step], "grad_norm": SKIPPED[step], "skipped": True}
        lines.append({**line, **clock, **({"tokens_per_second": 333} if clock else {})})
        if step % 10 == 0:
            bits = {"bits_per_byte": 3.0 / step, "bits_per_byte_han": 4.0 / step}
            lines.append({**at, **bits, "bits_per_byte_latin": 2.0 / step, **clock})
            lines.append({**at, "samples": [{"prompt": "a", "text": "b"}], **clock})
    text = "".join(json.dumps(line) + "\n" for line in lines) + '{"step": 41, "tok'
    (directory / log).write_text(text, encoding="utf-8")
    return directory


def titles(figure: Figure) -> list[str]:
    return [axes.get_ylabel() for axes in figure.axes if axes.get_ylabel()]


def legend(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.legends[0].get_texts()]


def panel(figure: Figure, title: str, xlabel: str) -> Axes:
    found = [a for a in figure.axes if (a.get_ylabel(), a.get_xlabel()) == (title, xlabel)]
    return found[0]


def test_the_picture_has_every_panel_against_tokens_and_time(tmp_path: Path) -> None:
    figure, notes = draw(read_runs([make_run(tmp_path / "run")]))
    assert notes == []
    assert titles(figure) == [
        *["training loss (nats)"] * 2,
        *["validation (bits/byte)"] * 2,
        "learning rate (×10⁻³)",
        "gradient norm",
        "thousand tokens/s",
    ]
    panel(figure, "training loss (nats)", "minutes")  # 120 seconds
    bits = panel(figure, "validation (bits/byte)", "thousand tokens").lines[0]
    assert list(bits.get_xdata()) == pytest.approx([10, 20, 30, 40])  # type: ignore[arg-type]
    assert list(bits.get_ydata()) == pytest.approx(  # type: ignore[arg-type]
        [0.3, 0.15, 0.1, 0.075]
    )


def test_an_old_log_without_time_and_speed_is_drawn_as_far_as_it_goes(tmp_path: Path) -> None:
    old = make_run(tmp_path / "old", log="loss_log.jsonl")
    figure, _ = draw(read_runs([old]))
    assert len(titles(figure)) == 4
    both, _ = draw(read_runs([old, make_run(tmp_path / "new")]))
    assert len(titles(both)) == 7


def test_runs_of_one_stage_share_an_axis_and_stages_stand_side_by_side(tmp_path: Path) -> None:
    runs = [make_run(tmp_path / name) for name in ("etude_pretrained_model", "other")]
    runs.append(make_run(tmp_path / "etude_sft_model", trained_tokens=600))
    figure, _ = draw(read_runs(runs))
    assert legend(figure) == ["pretrained", "other", "sft", "han records", "latin records",
                              "skipped step"]  # fmt: skip
    pretrain, sft = figure.axes[:2]
    assert (pretrain.get_title(), sft.get_title()) == ("pretrain", "sft")
    colours = [{line.get_color() for line in axes.lines} for axes in (pretrain, sft)]
    assert [len(found) for found in colours] == [2, 1]
    assert not colours[0] & colours[1]
    assert pretrain.get_ylim() == sft.get_ylim()


def test_the_first_steps_and_a_spike_do_not_rule_the_loss_axis(tmp_path: Path) -> None:
    figure, _ = draw(read_runs([make_run(tmp_path / "run")]))
    low, high = panel(figure, "training loss (nats)", "thousand tokens").get_ylim()
    assert low < 2.0
    assert 10 < high < 90


def test_skipped_steps_are_marked_and_leave_the_mean_alone(tmp_path: Path) -> None:
    figure, _ = draw(read_runs([make_run(tmp_path / "run")]))
    for title in ("training loss (nats)", "gradient norm"):
        _, mean, marks = panel(figure, title, "thousand tokens").lines
        assert list(marks.get_xdata()) == pytest.approx([12, 15])  # type: ignore[arg-type]
        assert marks.get_marker() == "x"
        assert not {12.0, 15.0} & set(mean.get_xdata())  # type: ignore[arg-type]
    assert "skipped step" in legend(figure)


def test_a_label_that_no_font_can_draw_is_replaced_and_told() -> None:
    lines = [{"step": 1, "tokens": 10, "loss": 1.0}]
    figure, notes = draw([Run("\U0001f4a9\ue000", "sft", lines), Run("b", "sft", lines)])
    assert legend(figure) == ["run 1", "b"]
    assert len(notes) == 1
    assert "is called run 1 in the picture" in notes[0]


def test_runs_of_the_same_name_are_told_apart_by_their_folders() -> None:
    assert distinct_names([Path("a/etude_sft_model"), Path("b/etude_sft_model")]) == [
        "a/etude_sft",
        "b/etude_sft",
    ]
    assert distinct_names([Path("a/etude_sft_model")]) == ["sft"]


def test_a_directory_without_a_log_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"there is no metrics\.jsonl or loss_log\.jsonl"):
        read_runs([tmp_path])


def test_a_run_without_a_step_is_refused(tmp_path: Path) -> None:
    (tmp_path / "metrics.jsonl").write_text("", encoding="utf-8")
    with pytest.raises(UserError, match="no training step yet"):
        read_runs([tmp_path])


def test_a_damaged_line_is_named(tmp_path: Path) -> None:
    text = '{"step": 1, "tokens": 1, "loss": 2.0}\n{"st\n{"step": 3, "tokens": 3, "loss": 2.0}\n'
    (tmp_path / "metrics.jsonl").write_text(text, encoding="utf-8")
    with pytest.raises(UserError, match=r"metrics\.jsonl:2: not a line of a training log"):
        read_runs([tmp_path])


def test_wrong_flags_are_told_at_once() -> None:
    wrong = PlotConfig(model_dirs=(Path("a"), Path("b")), labels=("a",), output=Path("a.bmp"))
    labels, output = wrong.problems()
    assert "1 names for 2" in labels
    assert ".png, .pdf or .svg" in output


def test_the_running_mean_of_a_constant_is_that_constant() -> None:
    assert running_mean([2.0] * 5, 0.9) == pytest.approx([2.0] * 5)
    assert running_mean([0.0, 1.0], 0.5) == pytest.approx([0.0, 2 / 3])


@pytest.mark.full
@pytest.mark.parametrize(
    ("name", "beginning"), [("a.png", b"\x89PNG"), ("a.pdf", b"%PDF"), ("a.svg", b"<?xml")]
)
def test_the_script_writes_the_format_of_the_name_and_warns_of_nothing(
    name: str, beginning: bytes, tmp_path: Path
) -> None:
    runs = [make_run(tmp_path / "练习曲"), make_run(tmp_path / "sft", trained_tokens=600)]
    command = [sys.executable, "-W", "error", str(SCRIPT), "--model_dirs", *map(str, runs)]
    done = subprocess.run(
        [*command, "--output", name],
        cwd=tmp_path,
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert f"the curves are in {name}" in done.stdout
    assert (tmp_path / name).read_bytes().startswith(beginning)
    assert not list(tmp_path.glob("*.tmp"))


def test_the_rate_of_muon_is_drawn_beside_that_of_adamw(tmp_path: Path) -> None:
    directory = make_run(tmp_path / "run")
    path = directory / "metrics.jsonl"
    text = path.read_text(encoding="utf-8")
    rates = '"learning_rate": 0.001, "muon_learning_rate": 0.02'
    path.write_text(text.replace('"learning_rate": 0.001', rates), encoding="utf-8")
    figure, _ = draw(read_runs([directory]))
    axes = panel(figure, "learning rate (×10⁻³)", "thousand tokens")
    assert [heights(line) for line in axes.lines] == [{1.0}, {20.0}]
    assert axes.get_ylim()[1] > 20
    assert "learning rate of Muon" in legend(figure)
    without, _ = draw(read_runs([make_run(tmp_path / "adamw")]))
    assert "learning rate of Muon" not in legend(without)


def test_a_beginning_that_the_axis_leaves_out_is_marked(tmp_path: Path) -> None:
    figure, _ = draw(read_runs([make_run(tmp_path / "run")]))
    axes = panel(figure, "training loss (nats)", "thousand tokens")
    assert axes.get_ylim()[1] < 80
    assert [text.get_text() for text in axes.texts] == ["↑ begins at 80"]
    rate = panel(figure, "learning rate (×10⁻³)", "thousand tokens")
    assert list(rate.texts) == []


def test_a_run_draws_itself_and_no_failure_of_it_is_more_than_a_warning(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    draw_picture(make_run(tmp_path / "run"))
    picture = tmp_path / "run" / "training.png"
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert f"the curves are in {picture}" in capsys.readouterr().out
    draw_picture(tmp_path / "nothing here")
    assert "warning: training.png was not drawn" in capsys.readouterr().err


def heights(line: Any) -> set[float]:
    return {round(float(y), 6) for y in line.get_ydata()}


def test_what_was_measured_on_held_out_pairs_is_drawn() -> None:
    lines = [{"step": n, "tokens": 1000 * n, "loss": 0.6} for n in (1, 2, 3)]
    for n in (1, 2, 3):
        measured = {"loss": 0.6, "accuracy": 0.25 * n, "margin": 0.1, "distance": 0.01}
        measured |= {"chosen_log_prob": -10.0 - n, "rejected_log_prob": -20.0}
        held_out = {f"validation_{name}": value for name, value in measured.items()}
        lines.append({"step": n, "tokens": 1000 * n, "bits_per_byte": 1.0, **held_out})
    figure, _ = draw([Run("dpo", "dpo", lines)])
    right = panel(figure, "held out: pairs right (%)", "thousand tokens").lines[0]
    assert list(right.get_ydata()) == pytest.approx([25, 50, 75])  # type: ignore[arg-type]
    chosen = panel(figure, "held out: log p of chosen", "thousand tokens")
    assert list(chosen.lines[0].get_ydata()) == [-11, -12, -13]  # type: ignore[arg-type]
    assert not [text for text in chosen.texts if "begins at 0" in text.get_text()]
