"""The config: presets, problems told at once, the command line."""

from __future__ import annotations

import dataclasses
import math
import pickle
import re
import subprocess
import sys
from pathlib import Path

import pytest

from cli import parse_config
from config import (
    PRESETS,
    ROOT,
    ModelConfig,
    PretrainConfig,
    RopeScaling,
    SamplingConfig,
    Settings,
    SFTConfig,
    TokenizerConfig,
    UserError,
    declared_ranges,
    divisors,
)
from data_process.records.jsonl import BadRecord, EmptyFile
from model.families import model_type_of
from model.transformer import Etude
from tool.settings import TimeToQualityConfig


@pytest.mark.parametrize("name", PRESETS)
def test_presets_have_no_problems(name: str) -> None:
    config = PRESETS[name]()
    assert config.preset == name
    stages = ["sft", "dpo", "grpo"] if name == "adapter" else ["model", "tokenizer", "pretrain"]
    assert config.problems([*stages, "lora", "sft"]) == []
    assert config.model.vocab_size == config.tokenizer.vocab_size


def test_the_default_preset_holds_the_values_of_the_first_etude() -> None:
    config = parse_config(["model", "pretrain"], "", [])
    assert config.preset == "base"
    assert (config.model.hidden_size, config.model.vocab_size) == (768, 16_384)
    pretrain, sft = PretrainConfig(), SFTConfig()
    assert (pretrain.batch_size, pretrain.learning_rate, pretrain.num_train_epochs) == (16, 3e-4, 3)
    assert (sft.batch_size, sft.learning_rate, sft.num_train_epochs) == (8, 3e-5, 3)
    assert pretrain.optimizer == sft.optimizer == "adamw"
    assert pretrain.device == sft.device == "auto"


@pytest.mark.parametrize("name", sorted(PRESETS.keys() - {"auto", "adapter"}))
def test_a_preset_has_the_size_that_its_help_says(name: str) -> None:
    said = re.match(r"([\d.]+)M parameters", PRESETS[name].__doc__ or "")
    assert said is not None
    millions = Etude(PRESETS[name]().model).num_parameters() / 1e6
    digits = len(said.group(1).partition(".")[2])
    assert round(millions, digits) == float(said.group(1))


@pytest.mark.parametrize("name", ["base", "nano", "mini", "auto"])
def test_the_small_presets_are_qwen3_and_llama_by_a_flag(name: str) -> None:
    config = parse_config(["model", "pretrain"], "", ["--preset", name, "--max_minutes", "1"])
    assert model_type_of(config.model) == ("llama" if name == "base" else "qwen3")
    flags = ["--preset", name, "--no_use_qk_norm", "--max_minutes", "1"]
    assert model_type_of(parse_config(["model", "pretrain"], "", flags).model) == "llama"


def test_a_flag_overrides_its_preset() -> None:
    config = parse_config(["model", "pretrain"], "", ["--preset", "nano", "--batch_size", "4"])
    assert config.pretrain.batch_size == 4
    assert config.model == PRESETS["nano"]().model


def test_all_problems_are_raised_at_once_with_field_value_and_remedy() -> None:
    args = ["--hidden_size=770", "--num_key_value_heads=5", "--gradient_accumulation_steps=3"]
    with pytest.raises(UserError) as caught:
        parse_config(["model", "pretrain"], "", args)
    first, second, third = str(caught.value).splitlines()
    assert "hidden_size is 770" in first
    assert "multiple of 24" in first
    assert "num_key_value_heads is 5" in second
    assert "[1, 2, 3, 4, 6, 12]" in second
    assert "gradient_accumulation_steps is 3" in third
    assert "[1, 2, 4, 8, 16]" in third


@pytest.mark.parametrize(
    "problem",
    [
        (ModelConfig(hidden_size=0), "hidden_size is 0"),
        (TokenizerConfig(vocab_size=10), "vocab_size is 10"),
        (PretrainConfig(warmup_ratio=1.5), "warmup_ratio is 1.5"),
        (PretrainConfig(adam_beta2=1.0), "adam_beta2 is 1.0"),
        (PretrainConfig(max_steps=0), "max_steps is 0"),
        (PretrainConfig(validation_every=1), "validation_every is 1"),
        (PretrainConfig(learning_rate=float("nan")), "learning_rate is nan"),
    ],
    ids=lambda pair: pair[1],
)
def test_each_bad_value_is_named(problem: tuple[ModelConfig | PretrainConfig, str]) -> None:
    config, sentence = problem
    assert any(sentence in found for found in config.problems())


ALL_SETTINGS = (ModelConfig, RopeScaling, TokenizerConfig, PretrainConfig, SFTConfig)


@pytest.mark.parametrize("kind", ALL_SETTINGS, ids=lambda kind: kind.__name__)
def test_every_number_has_a_range_and_must_be_finite(kind: type[Settings]) -> None:
    for item in dataclasses.fields(kind):
        default = getattr(kind(), item.name)
        if type(default) in (int, float) or "float" in str(item.type) or "int" in str(item.type):
            assert declared_ranges(kind)[item.name], f"{item.name} has no range"
            for value in (math.inf, math.nan, -1):
                changed = dataclasses.replace(kind(), **{item.name: value})
                assert any(f"{item.name} is {value}" in found for found in changed.problems())


def test_a_seed_that_may_be_left_out_has_its_range_too() -> None:
    assert SamplingConfig(seed=None).problems() == []
    assert "seed is -1" in SamplingConfig(seed=-1).problems()[0]


@pytest.mark.parametrize("flag", ["pretrain_files", "sft_files"])
def test_a_flag_for_files_with_nothing_behind_it_is_refused(flag: str) -> None:
    with pytest.raises(UserError, match=f"{flag} is given without a value"):
        parse_config(["paths"], "", [f"--{flag}"])


def test_a_tuple_of_numbers_has_the_range_of_each() -> None:
    assert "learning_rates is -1.0" in TimeToQualityConfig(learning_rates=(-1.0,)).problems()[0]
    assert "without a value" in TimeToQualityConfig(learning_rates=()).problems()[0]


def test_divisors_of_a_large_number_are_found_at_once() -> None:
    assert divisors(12) == [1, 2, 3, 4, 6, 12]
    assert divisors(16) == [1, 2, 4, 8, 16]
    assert divisors(9_999_991) == [1, 9_999_991]


def test_output_is_utf8_and_not_held_back_also_in_a_pipe_of_another_locale() -> None:
    code = (
        f"import sys; sys.path.insert(0, {str(ROOT)!r}); from cli import run_script; import os\n"
        "def main():\n    print('你好')\n    os._exit(0)  # nothing more is flushed\n"
        "run_script(main)"
    )
    environment = {"PYTHONIOENCODING": "ascii", "PATH": ""}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, env=environment, check=False
    )
    assert done.stdout.decode("utf-8").strip() == "你好"


def test_every_mistake_crosses_processes_as_its_sentence() -> None:
    for mistake in (UserError("a"), BadRecord("f.jsonl:1", ["not JSON"]), EmptyFile(Path("f"))):
        again = pickle.loads(pickle.dumps(mistake))
        assert isinstance(again, UserError)
        assert str(again) == str(mistake)
