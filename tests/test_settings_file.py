"""Settings from a YAML file: its values go before the preset's, flags before them, and each mistake
has its line."""

from __future__ import annotations

from pathlib import Path

import pytest

from cli import parse_config, settings_text
from config import PRESETS, EtudeConfig, UserError

PARTS = ("model", "pretrain", "paths")


def parsed(path: Path, text: str, *flags: str) -> EtudeConfig:
    """What a file and flags give."""
    path.write_text(text, encoding="utf-8")
    return parse_config(PARTS, "", [f"--config={path}", *flags])


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "run.yaml"


def test_a_file_goes_before_its_preset_and_flags_before_the_file(file: Path) -> None:
    text = """
preset: nano
model:
  rope_scaling: {rope_type: linear, factor: 2}
pretrain:
  batch_size: 32
  learning_rate: 3e-3
  max_steps: 7
  compile: no
  log_to: [wandb]
sft:
  batch_size: 4  # for train_sft.py
paths:
  pretrain_files: [a.jsonl, 数据.jsonl]
"""
    config = parsed(file, text, "--max_steps=9")
    nano = PRESETS["nano"]()
    assert config.model.hidden_size == nano.model.hidden_size
    assert (config.model.rope_scaling.rope_type, config.model.rope_scaling.factor) == (
        "linear",
        2.0,
    )
    found = config.pretrain
    assert (found.batch_size, found.learning_rate, found.max_steps) == (32, 0.003, 9)
    assert (found.compile, found.log_to) == (False, ("wandb",))
    assert found.optimizer == nano.pretrain.optimizer
    assert config.paths.pretrain_files == (Path("a.jsonl"), Path("数据.jsonl"))
    again = parse_config(["sft"], "", [f"--config={file}"])
    assert again.sft.batch_size == 4
    assert parsed(file, text, "--preset=mini").model.hidden_size == 512
    assert parsed(file, text, "--compile").pretrain.compile


def test_what_a_run_writes_gives_the_same_settings_again(file: Path) -> None:
    flags = ["--preset=nano", "--batch_size=3", "--pretrain_files", "数.jsonl", "--no_compile"]
    config = parse_config(PARTS, "", [*flags, "--rope_type=linear", "--factor=3", "--log_to=wandb"])
    text = settings_text(config, PARTS)
    assert parsed(file, text) == config
    assert str(Path.cwd()) not in text
    assert parsed(file, settings_text(PRESETS["base"](), PARTS)) == PRESETS["base"]()


def test_an_empty_file_changes_nothing(file: Path) -> None:
    for text in ("", "# nothing\n", "pretrain:\n", "preset:\n", "---\n...\n"):
        assert parsed(file, text) == PRESETS["base"]()


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("preset: nano\npretrian:\n  seed: 1", "2: pretrian: there is no such section"),
        (
            "pretrain:\n  seed: 1\n  batchsize: 3",
            "3: pretrain has no setting batchsize; batch_size",
        ),
        ("model:\n  rope_scaling:\n    faktor: 3", "3: rope_scaling has no setting faktor; factor"),
        ("model:\n  vocab_size: 300", "2: model has no setting vocab_size"),
        ("\nbatch_size: 3", "2: batch_size: put it under pretrain or sft"),
        ("preset: tiny", "1: preset is 'tiny': Input should be 'base', "),
        ("preset: [nano]", "1: preset is ['nano']: "),
        ("? [pretrain]\n: seed: 1", "1: the file has a key that is no name"),
        ("pretrain:\n  {seed: 1}: 2", "2: pretrain has a key that is no name"),
        (
            "pretrain:\n  batch_size: yes",
            "2: batch_size is 'True': Input should be a valid integer",
        ),
        ("pretrain:\n  dtype: off", "2: dtype is 'False': "),
        ("pretrain:\n  <<: 3", "2: pretrain: expected a mapping"),
        ("sft:\n  batch_size: many", "2: batch_size is 'many': "),
        ("pretrain:\n  batch_size: 0", "2: batch_size is 0: "),
        ("pretrain:\n  seed: -1", "2: seed is -1: "),
        ("pretrain:\n  optimizer: sgd", "2: optimizer is 'sgd': "),
        ("pretrain:\n  seed: 1\n  seed: 2", "3: seed is given twice"),
        ("pretrain: [1]", "1: pretrain must be a mapping"),
        ("- 1", "1: the file must be a mapping"),
        ("a: b: c", "1: not readable as YAML"),
        ("pretrain:\n  seed: 1\n\tx: 2", "3: not readable as YAML"),
        ("paths:\n  pretrain_files: []", "2: pretrain_files is []: "),
        ("x: !!python/object/apply:os.system ['true']", "1: x: there is no such section"),
    ],
)
def test_a_mistake_in_a_file_is_named_with_its_line(file: Path, text: str, sentence: str) -> None:
    with pytest.raises(UserError) as caught:
        parsed(file, text)
    assert str(caught.value).startswith(f"{file}:{sentence}")


def test_sections_share_settings_by_anchors(file: Path) -> None:
    text = """
pretrain: &first
  batch_size: 8
  seed: 2
sft:
  <<: *first
  batch_size: 4
"""
    file.write_text(text, encoding="utf-8")
    pretrain, sft = (
        getattr(parse_config([part], "", [f"--config={file}"]), part)
        for part in ("pretrain", "sft")
    )
    assert (pretrain.batch_size, pretrain.seed) == (8, 2)
    assert (sft.batch_size, sft.seed) == (4, 2)


def test_a_path_may_begin_at_home_and_one_file_needs_no_list(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(file.parent))
    monkeypatch.setenv("USERPROFILE", str(file.parent))
    paths = parsed(file, "paths:\n  pretrain_files: ~/a.jsonl\n  tokenizer_dir: ~/b").paths
    assert paths.pretrain_files == (file.parent / "a.jsonl",)
    assert paths.tokenizer_dir == file.parent / "b"


def test_no_code_of_a_file_is_run(file: Path) -> None:
    with pytest.raises(UserError, match=":2: seed is not plain"):
        parsed(file, "pretrain:\n  seed: !!python/object/apply:os.getpid []")


def test_a_file_that_is_missing_or_no_text_is_refused(file: Path) -> None:
    with pytest.raises(UserError, match="cannot be read"):
        parse_config(PARTS, "", [f"--config={file}"])
    file.write_bytes(b"\xff\xfe\x00seed")
    with pytest.raises(UserError, match="cannot be read"):
        parse_config(PARTS, "", [f"--config={file}"])


def test_a_value_that_only_does_not_fit_the_others_is_refused_as_on_the_command_line(
    file: Path,
) -> None:
    with pytest.raises(UserError, match="learning_rate is inf: use a finite number"):
        parsed(file, "pretrain:\n  learning_rate: .inf")
    with pytest.raises(UserError, match="gradient_accumulation_steps is 3"):
        parsed(file, "pretrain:\n  gradient_accumulation_steps: 3")
