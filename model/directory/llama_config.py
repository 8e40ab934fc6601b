"""`config.json` of a model directory: that of a Llama, as every version of transformers writes and
reads it."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from config import ModelConfig, RopeScaling, UserError
from model.directory.storage import recover
from model.tokenizer import EtudeTokenizer

NEEDED = {
    "hidden_act": "silu",
    "attention_bias": False,
    "mlp_bias": False,
    "pretraining_tp": 1,
    "quantization_config": None,
    "sliding_window": None,
    "partial_rotary_factor": 1.0,
    "attention_dropout": 0.0,
}
"""Values of config.json without which it is another network; one that is not there is as here."""


def llama_config(
    config: ModelConfig, tokenizer: EtudeTokenizer, is_chat: bool, dtype: torch.dtype
) -> dict[str, Any]:
    """The content of `config.json`.

    The base of the rotary embedding stands there twice: transformers 5 reads `rope_parameters`,
    everything older `rope_theta`.
    """
    scaling = scaling_fields(config.rope_scaling)
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        **dataclasses.asdict(config),
        "rope_scaling": scaling if scaling["rope_type"] != "default" else None,
        "head_dim": config.head_dim,
        "hidden_act": "silu",
        "attention_bias": False,
        "attention_dropout": 0.0,
        "mlp_bias": False,
        "rope_parameters": {"rope_theta": config.rope_theta, **scaling},
        "bos_token_id": tokenizer.backend.token_to_id(tokenizer.bos_of(is_chat)),
        "eos_token_id": tokenizer.end_ids(is_chat)[0],
        "pad_token_id": tokenizer.end_of_text_id,
        "torch_dtype": str(dtype).removeprefix("torch."),
        "use_cache": True,
    }


SCALING_FIELDS = {
    "default": (),
    "linear": ("factor",),
    "yarn": ("factor", "original_max_position_embeddings", "beta_fast", "beta_slow"),
    "llama3": ("factor", "original_max_position_embeddings", "low_freq_factor", "high_freq_factor"),
}
"""What transformers wants to know of each rope_type."""


OTHER_SCALING = {
    "attention_factor": None,
    "mscale": None,
    "mscale_all_dim": None,
    "truncate": True,
    "partial_rotary_factor": 1.0,
}
"""What transformers knows beside these, and the value that changes nothing."""


def scaling_fields(scaling: RopeScaling) -> dict[str, Any]:
    """The part of `rope_parameters` that says how positions are scaled."""
    names = ("rope_type", *SCALING_FIELDS[scaling.rope_type])
    return {name: getattr(scaling, name) for name in names}


def read_scaling(path: Path, fields: Mapping[str, Any]) -> RopeScaling:
    """The scaling that a `config.json` holds.

    Raises:
        UserError: it is of a kind that Etude does not have.
    """
    given = fields.get("rope_scaling") or fields.get("rope_parameters") or {}
    if not isinstance(given, dict):
        raise UserError(f"{path}: rope_scaling or rope_parameters is {given!r}, not an object")
    kind = given.get("rope_type", given.get("type", "default"))
    if kind not in SCALING_FIELDS:
        raise UserError(
            f"{path}: rope_type {kind!r} is not one of {', '.join(SCALING_FIELDS)}: such a model "
            "cannot be used"
        )
    for name, usual in OTHER_SCALING.items():
        if given.get(name, usual) not in (usual, None):
            raise UserError(
                f"{path}: {kind} scaling has the {name} {given[name]!r}, which Etude does not "
                "have: such a model cannot be used"
            )
    known = {name: given[name] for name in SCALING_FIELDS[kind] if name in given}
    return RopeScaling(rope_type=kind, **known)


def generation_config(tokenizer: EtudeTokenizer, is_chat: bool) -> dict[str, Any]:
    """The content of `generation_config.json`: a chat ends at the end of the turn, a text at the
    end of the text."""
    return {
        "bos_token_id": tokenizer.backend.token_to_id(tokenizer.bos_of(is_chat)),
        "eos_token_id": list(tokenizer.end_ids(is_chat)),
        "pad_token_id": tokenizer.end_of_text_id,
        "do_sample": False,
    }


def load_model_config(directory: Path) -> ModelConfig:
    """The shape that a model directory's `config.json` holds.

    Raises:
        UserError: there is no such directory, or it holds another kind of model.
    """
    return shape_of(directory / "config.json", read_config_json(directory))


def shape_of(path: Path, fields: Mapping[str, Any]) -> ModelConfig:
    """The shape that a Llama's config.json gives; what is not said is as transformers takes it.

    Raises:
        UserError: a feature is not Etude's, or a size is missing or of another kind.
    """
    for name, needed in NEEDED.items():
        if fields.get(name, needed) != needed:
            raise UserError(
                f"{path}: {name} is {fields[name]!r}, which Etude's network does not have (it has "
                f"{needed!r}): such a model cannot be used"
            )
    scaling = read_scaling(path, fields)
    given = {
        "num_key_value_heads": fields.get("num_attention_heads"),
        "rope_theta": (fields.get("rope_parameters") or {}).get("rope_theta", 10_000.0),
        "tie_word_embeddings": False,
        "rms_norm_eps": 1e-6,
        "initializer_range": 0.02,
        **{name: value for name, value in fields.items() if value is not None},
    }
    plain = {f.name: f.default for f in dataclasses.fields(ModelConfig) if f.name != "rope_scaling"}
    if missing := [name for name in plain if given.get(name) is None]:
        raise UserError(f"{path}: {', '.join(missing)} is missing")
    for name, default in plain.items():
        kinds = (int, float) if isinstance(default, float) else (type(default),)
        if type(given[name]) not in kinds:
            raise UserError(
                f"{path}: {name} is {given[name]!r}, not a {type(default).__name__}; restore the "
                "file that was saved with the model"
            )
    base = (fields.get("rope_parameters") or {}).get("rope_theta", given["rope_theta"])
    if base != given["rope_theta"]:
        raise UserError(
            f"{path}: rope_theta is {given['rope_theta']}, but {base} in rope_parameters; keep one"
        )
    given["rope_theta"] = float(given["rope_theta"])
    shape = ModelConfig(**{name: given[name] for name in plain}, rope_scaling=scaling)
    if problems := shape.problems():
        raise UserError(f"{path}: {problems[0]}")
    if fields.get("head_dim") not in (None, shape.head_dim):
        raise UserError(
            f"{path}: head_dim is {fields['head_dim']}, and not hidden_size / num_attention_heads "
            f"= {shape.head_dim}, as Etude's network has it: such a model cannot be used"
        )
    return shape


def what_is_instead(directory: Path) -> str:
    """What stands in the place of a model directory, and what to name in its place."""
    if directory.is_file():
        return "(it is a file); name the directory of an Etude or transformers model, no GGUF"
    if (directory / "checkpoints").is_dir():
        return "(a run that is not complete); run its command again, or name one of its checkpoints"
    if not directory.exists() and len(directory.parts) == 2 and not directory.parent.exists():
        return "(no such directory); download one of the hub first, with hf download"
    return (
        "(no config.json); train one with `python train/train_pretrain.py` and "
        "`python train/train_sft.py`, or name its directory"
    )


def read_config_json(directory: Path) -> dict[str, Any]:
    """The content of a model directory's `config.json`; UserError when it is not that of a
    Llama."""
    recover(directory)
    path = directory / "config.json"
    if not path.is_file():
        raise UserError(f"{directory}: there is no model here {what_is_instead(directory)}")
    try:
        fields = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise UserError(f"{path}: not readable as JSON ({error})") from error
    if not isinstance(fields, dict) or fields.get("model_type") != "llama":
        kind = fields.get("model_type") if isinstance(fields, dict) else fields
        raise UserError(
            f"{path}: not a Llama model, which Etude's are (model_type is {kind!r:.40}); name the "
            "directory of an Etude model"
        )
    return fields
