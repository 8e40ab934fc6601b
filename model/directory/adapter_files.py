"""An adapter's directory, in PEFT's form: `adapter_config.json` and `adapter_model.safetensors`.

Beside them lie the tokenizer, `generation_config.json` and `training_summary.json`, which holds the
fingerprint of the weights that the adapter was trained on. Where the base lies is said by a path
from the directory itself, so both can be moved together.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from config import LoraConfig, UserError
from model.directory.storage import MANIFEST, Writer, json_writer, read_object, recover, verify
from model.directory.tensors import read_safetensors, save_tensors

ADAPTER_WEIGHTS = "adapter_model.safetensors"
ADAPTER_CONFIG = "adapter_config.json"
PREFIX = "base_model.model."
"""Before a weight's name, in PEFT's files."""
BASE = "base_model_name_or_path"
BASE_LAYER = ".base_layer.weight"
"""The end of the name under which PEFT saves the weight of an output layer beside its adapter."""
NEEDED = {
    "peft_type": "LORA",
    "bias": "none",
    "fan_in_fan_out": False,
    "modules_to_save": None,
    "alpha_pattern": {},
    "layer_replication": None,
    "alora_invocation_tokens": None,
    "use_qalora": False,
}
"""Values of adapter_config.json without which it is another adapter; one that is not there, or
null, is as here."""
CHANGES_BASE = ("pissa", "olora", "corda", "loftq", "lora_ga")
"""Beginnings of init_lora_weights with which PEFT changes the base's own weights too."""


def adapter_files(
    lora: LoraConfig, weights: Mapping[str, Tensor], base: Path, directory: Path
) -> dict[str, Writer]:
    """The two files of an adapter, keyed by name.

    Args:
        lora: its settings.
        weights: what `model.adapters.adapter_weights` returns.
        base: the directory of the model under it.
        directory: where the files will lie.
    """
    try:
        place = Path(os.path.relpath(base.resolve(), directory.resolve())).as_posix()
    except ValueError:  # on another drive of Windows
        place = str(base.resolve())
    # A target is an end of a layer's name, for PEFT too; but its all-linear is another's word.
    blocks = {n.partition(".lora_")[0].rpartition(".")[2] for n in weights if ".layers." in n}
    every = "all" in lora.lora_targets
    layers = {*lora.lora_targets, *(blocks if every else ())} - {"all"}
    fields = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        BASE: place,
        "r": lora.lora_rank,
        "lora_alpha": lora.lora_alpha,
        "lora_dropout": lora.lora_dropout,
        "target_modules": sorted(layers),
        "use_rslora": lora.use_rslora,
        "use_dora": lora.use_dora,
        "bias": "none",
        "fan_in_fan_out": False,
        "init_lora_weights": True,
        "inference_mode": True,
    }
    tensors = {PREFIX + name: tensor.cpu().contiguous() for name, tensor in weights.items()}
    return {
        ADAPTER_CONFIG: json_writer(fields),
        ADAPTER_WEIGHTS: lambda path: save_tensors(tensors, path),
    }


def is_adapter(directory: Path) -> bool:
    """Whether a directory holds an adapter and no model."""
    recover(directory)
    return (directory / ADAPTER_CONFIG).is_file() and not (directory / "config.json").is_file()


def base_directory(directory: Path) -> Path:
    """Where an adapter says that its base lies.

    Raises:
        UserError: there is nothing.
    """
    base = directory / str(read_fields(directory).get(BASE))
    if not (base / "config.json").is_file():
        raise UserError(
            f"{directory}: an adapter, and its base is not at {base}: name both, with --model_dir "
            f"BASE --adapter {directory}"
        )
    return base


def read_adapter(directory: Path) -> tuple[LoraConfig, dict[str, Tensor]]:
    """The settings of an adapter, Etude's or PEFT's, and its weights in float32 by names without
    PEFT's prefix.

    Raises:
        UserError: it is missing, damaged, or of a kind that Etude does not have.
    """
    fields = read_fields(directory)
    if (directory / MANIFEST).exists():
        verify(directory)
    lora = settings_of(fields, directory / ADAPTER_CONFIG)
    path = directory / ADAPTER_WEIGHTS
    weights = {name: tensor.float() for name, tensor in read_safetensors(path).items()}
    ends = (".lora_A.weight", ".lora_B.weight", ".lora_magnitude_vector", BASE_LAYER)
    if strange := [n for n in weights if not (n.startswith(PREFIX) and n.endswith(ends))]:
        raise UserError(
            f"{path}: {strange[0]} is no weight of an adapter that Etude has: train it on linear "
            "layers alone, without biases and modules_to_save"
        )
    return lora, {name.removeprefix(PREFIX): tensor for name, tensor in weights.items()}


def read_fields(directory: Path) -> dict[str, Any]:
    """The content of `adapter_config.json`; raises UserError where there is none."""
    if not is_adapter(directory):
        raise UserError(
            f"{directory}: there is no adapter here (no {ADAPTER_CONFIG}): train one with "
            "--lora_rank 8, or name its directory"
        )
    return read_object(directory / ADAPTER_CONFIG)


def settings_of(fields: Mapping[str, Any], path: Path) -> LoraConfig:
    """What an `adapter_config.json` says, as settings.

    Raises:
        UserError: it asks for what Etude does not have, or its values are wrong.
    """
    for name, value in NEEDED.items():
        if fields.get(name) not in (None, value):
            raise UserError(f"{path}: {name} is {fields[name]!r:.60}, which Etude does not have")
    start = str(fields.get("init_lora_weights")).lower()
    if start.startswith(CHANGES_BASE):
        raise UserError(
            f"{path}: init_lora_weights is {start}, which changes the base too: save it from PEFT "
            "with path_initial_model_for_weight_conversion"
        )
    try:
        lora = LoraConfig(
            lora_rank=int(fields["r"]),
            lora_alpha=float(fields["lora_alpha"]),
            lora_dropout=float(fields.get("lora_dropout") or 0),
            use_rslora=bool(fields.get("use_rslora")),
            use_dora=bool(fields.get("use_dora")),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f"{path}: r or lora_alpha is missing or not a number ({error})") from error
    if problems := lora.problems():
        raise UserError(f"{path}: {problems[0]}")
    return lora
