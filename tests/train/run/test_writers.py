"""Metrics on their way to TensorBoard and wandb."""

from __future__ import annotations

import importlib
import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from config import ROOT, UserError
from train.run.logs import LogFiles
from train.run.writers import make_writers, run_id

EXACT = {"grad_norm": 0.5, "learning_rate": 1e-3, "trained_tokens": 90}


def train_steps(directory: Path, first: int, last: int, names: tuple[str, ...]) -> None:
    """One start of a run from a checkpoint at `first`: a line a step, an evaluation every fourth,
    which comes after the save."""
    log = LogFiles(directory, first, make_writers(names, directory, "sft run", {"seed": 1}))
    if first and first % 4 == 0:
        evaluate(log, first)
    for step in range(first + 1, last + 1):
        loss = None if step == 3 else 4.0 / step
        exact = {"step": step, "tokens": 100 * step, "loss": loss, **EXACT}
        log.write(exact, {"tokens_per_second": 7, "seconds": 2.0 * step})
        if step % 4 == 0:
            evaluate(log, step)
    log.close()


def evaluate(log: LogFiles, step: int) -> None:
    at, seconds = {"step": step, "tokens": 100 * step}, {"seconds": 2.0 * step}
    log.write({**at, "bits_per_byte": 1.0 / step}, seconds)
    log.write({**at, "samples": [{"prompt": "你好", "text": f"text {step}"}]}, seconds)


def events(directory: Path) -> Any:
    reader = importlib.import_module("tensorboard.backend.event_processing.event_accumulator")
    found = reader.EventAccumulator(str(directory / "tensorboard"))
    found.Reload()
    return found


def test_tensorboard_shows_the_values_of_the_log(tmp_path: Path) -> None:
    train_steps(tmp_path, 0, 5, ("tensorboard",))
    found = events(tmp_path)
    loss = found.Scalars("train/loss")
    assert [event.step for event in loss] == [1, 2, 4, 5]  # step 3 was not finite
    assert [event.value for event in loss] == pytest.approx([4.0, 2.0, 1.0, 0.8])
    assert loss[-1].wall_time - loss[0].wall_time == pytest.approx(8.0)  # seconds of training
    assert found.Scalars("validation/bits_per_byte")[0].value == pytest.approx(0.25)
    assert found.Scalars("machine/tokens_per_second")[0].value == 7
    text = found.Tensors("sample_1/text_summary")[0].tensor_proto.string_val[0]
    assert text.decode("utf-8") == "**你好**\n\ntext 4"


def test_tensorboard_has_no_step_twice_and_none_missing_after_a_resume(tmp_path: Path) -> None:
    train_steps(tmp_path, 0, 7, ("tensorboard",))
    train_steps(tmp_path, 4, 10, ("tensorboard",))  # killed at 7, continued at the checkpoint of 4
    found = events(tmp_path)
    assert [event.step for event in found.Scalars("train/loss")] == [1, 2, *range(4, 11)]
    assert [event.step for event in found.Scalars("validation/bits_per_byte")] == [4, 8]


def test_a_run_that_began_without_tensorboard_is_shown_from_its_beginning(tmp_path: Path) -> None:
    train_steps(tmp_path, 0, 4, ())
    train_steps(tmp_path, 4, 6, ("tensorboard",))
    steps = [event.step for event in events(tmp_path).Scalars("train/grad_norm")]
    assert steps == [1, 2, 3, 4, 5, 6]


class Listener:
    """Notes whoever connects."""

    def __init__(self) -> None:
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.address = f"http://127.0.0.1:{self.socket.getsockname()[1]}"
        self.visitors = 0
        threading.Thread(target=self.listen, daemon=True).start()

    def listen(self) -> None:
        while True:
            self.socket.accept()[0].close()
            self.visitors += 1


OFFLINE_RUN = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from tests.train.run.test_writers import train_steps
train_steps(Path("."), 0, 5, ("wandb",))
train_steps(Path("."), 4, 6, ("wandb",))
"""


@pytest.mark.full
def test_wandb_works_offline_and_asks_no_network(tmp_path: Path) -> None:
    listener = Listener()
    proxies = dict.fromkeys(("HTTP_PROXY", "HTTPS_PROXY", "https_proxy"), listener.address)
    environment = {**os.environ, **proxies, "WANDB_MODE": "offline", "HOME": str(tmp_path)}
    environment |= {"WANDB_BASE_URL": listener.address, "NO_PROXY": ""}
    done = subprocess.run(
        [sys.executable, "-c", OFFLINE_RUN, str(ROOT)],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        encoding="utf-8",
        check=False,
        timeout=120,
    )
    assert listener.visitors == 0
    assert done.returncode == 0, done.stderr
    assert "switched off" not in done.stderr
    runs = sorted(path.name for path in (tmp_path / "wandb").glob("offline-run-*"))
    assert len(runs) == 2
    # One run, two starts; two within one second are told apart by a number at the end.
    assert {name.split("-")[3] for name in runs} == {run_id(tmp_path)}


class FakeRun:
    """What wandb.init returns, of a server that already has some lines."""

    def __init__(self, starting_step: int) -> None:
        self.starting_step = starting_step
        self.rows: dict[int, dict[str, Any]] = {}

    def define_metric(self, name: str, step_metric: str) -> None:
        assert (name, step_metric) == ("*", "step")

    def log(self, values: dict[str, Any], step: int) -> None:
        assert step not in self.rows
        self.rows[step] = values

    def finish(self) -> None:
        pass


class FakeWandb:
    """The module, without a server."""

    def __init__(self, run: FakeRun) -> None:
        self.run, self.arguments = run, dict[str, Any]()

    def init(self, **arguments: Any) -> FakeRun:
        self.arguments = arguments
        return self.run

    def Settings(self, **settings: Any) -> dict[str, Any]:
        return settings

    def Table(self, columns: list[str], data: list[list[str]]) -> list[list[str]]:
        return data


def test_a_resumed_wandb_run_gets_the_lines_it_lacks_and_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train_steps(tmp_path, 0, 7, ())
    wandb = FakeWandb(FakeRun(starting_step=5))  # it has the steps 1 to 4 and the evaluation
    monkeypatch.setitem(sys.modules, "wandb", wandb)
    train_steps(tmp_path, 4, 6, ("wandb",))
    assert wandb.arguments["resume"] == "allow"
    rows = list(wandb.run.rows.values())
    assert [row["step"] for row in rows] == [4, 5, 6]
    assert rows[0]["samples"] == [["你好", "text 4"]]
    assert rows[1]["train/loss"] == pytest.approx(0.8)


@pytest.mark.parametrize("name", ["tensorboard", "wandb"])
def test_a_missing_package_is_named_with_the_remedy(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in [m for m in sys.modules if m.startswith("torch.utils.tensorboard")]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(UserError, match=f"--log_to {name}.*`pip install {name}`"):
        make_writers((name,), tmp_path, "run", {})


class Broken:
    """A destination that fails from the second line on."""

    def __init__(self) -> None:
        self.calls = 0

    def put(self, number: int, fields: Mapping[str, Any]) -> None:
        self.calls += 1
        if number:
            raise OSError("the disk\nis gone")

    def close(self) -> None:
        raise OSError("still gone")


def test_a_failing_writer_warns_once_and_training_goes_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = Broken()
    log = LogFiles(tmp_path, 0, {"wandb": broken})
    for step in range(1, 5):
        log.write({"step": step, "loss": 1.0})
    log.close()
    assert broken.calls == 2
    warnings = capsys.readouterr().err.splitlines()
    assert len(warnings) == 1
    assert "wandb failed (the disk is gone)" in warnings[0]
    lines = (tmp_path / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    assert [json.loads(line)["step"] for line in lines] == [1, 2, 3, 4]


def test_a_wandb_that_cannot_begin_does_not_stop_the_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(self: FakeWandb, **arguments: Any) -> FakeRun:
        raise RuntimeError("no API key")

    monkeypatch.setattr(FakeWandb, "init", refuse)
    monkeypatch.setitem(sys.modules, "wandb", FakeWandb(FakeRun(0)))
    assert make_writers(("wandb",), tmp_path, "run", {}) == {}
    assert "wandb failed (no API key)" in capsys.readouterr().err


def test_neither_package_is_imported_before_it_is_asked_for() -> None:
    code = (
        "import sys, train.run.writers; print('tensorboard' in sys.modules, 'wandb' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["False", "False"]
