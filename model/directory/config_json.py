"""`config.json` of a model directory: that of a stock class, as every version of transformers
writes and reads it."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from config import ModelConfig, RopeScaling, UserError
from model.directory.storage import recover
from model.families import FAMILIES, SWITCHES, Family, model_type_of
from model.tokenizer import EtudeTokenizer

NEEDED = {
    "hidden_act": "silu",
    "pretraining_tp": 1,
    "quantization_config": None,
    "partial_rotary_factor": 1.0,
}
"""Values of config.json without which it is another network, beside the constants of its family;
one that is not there is as here."""
COMMON = tuple(f.name for f in dataclasses.fields(ModelConfig))
COMMON = COMMON[: COMMON.index("rope_scaling")]
"""The fields of a ModelConfig that every family's config.json has."""
DEFAULTS = {
    "rope_theta": 10_000.0,
    "tie_word_embeddings": False,
    "rms_norm_eps": 1e-6,
    "initializer_range": 0.02,
}
"""What transformers takes for a field that is not there."""


def config_json(
    config: ModelConfig, tokenizer: EtudeTokenizer, is_chat: bool, dtype: torch.dtype
) -> dict[str, Any]:
    """The content of `config.json`.

    The base of the rotary embedding stands there twice: transformers 5 reads `rope_parameters`,
    everything older `rope_theta`.

    Raises:
        UserError: the network is no stock class.
    """
    scaling = scaling_fields(config.rope_scaling)
    model_type = model_type_of(config)
    family = FAMILIES[model_type]
    return {
        "architectures": [family.architecture],
        "model_type": model_type,
        **{name: getattr(config, name) for name in COMMON},
        "rope_scaling": scaling if scaling["rope_type"] != "default" else None,
        **own_fields(config, family),
        "hidden_act": "silu",
        **family.constants,
        "rope_parameters": {"rope_theta": config.rope_theta, **scaling},
        "bos_token_id": tokenizer.backend.token_to_id(tokenizer.bos_of(is_chat)),
        "eos_token_id": tokenizer.end_ids(is_chat)[0],
        "pad_token_id": tokenizer.end_of_text_id,
        "torch_dtype": str(dtype).removeprefix("torch."),
        "use_cache": True,
    }


def own_fields(config: ModelConfig, family: Family) -> dict[str, Any]:
    """What a family's config.json says of the network beside what all say."""
    fields = {name: getattr(config, name) for name in family.fields}
    resolved = {
        "head_dim": config.head_size,
        "moe_intermediate_size": config.expert_size,
        "mlp_only_layers": list(config.mlp_only_layers),
    }
    fields |= {name: value for name, value in resolved.items() if name in fields}
    if "num_experts" in fields:
        fields["num_local_experts"] = config.num_experts  # its name since transformers 5
    if config.no_rope_layer_interval:
        fields["no_rope_layers"] = rope_layers(config)
    return fields


def rope_layers(config: ModelConfig) -> list[int]:
    """For each block 1, or 0 where it has no rotary positions: transformers' no_rope_layers."""
    return [int(config.has_rope(layer)) for layer in range(config.num_hidden_layers)]


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
    """The shape that a config.json gives; what is not said is as transformers takes it.

    Raises:
        UserError: a feature is not Etude's, or a size is missing or of another kind.
    """
    family = FAMILIES[fields["model_type"]]
    refuse_other_networks(path, fields, family)
    scaling = read_scaling(path, fields)
    given = {**DEFAULTS, **family.defaults, **stated(fields, family)}
    if given.get("num_key_value_heads") is None:
        given["num_key_value_heads"] = given.get("num_attention_heads")
    plain = {f.name: f.default for f in dataclasses.fields(ModelConfig) if f.name in given}
    if missing := [name for name in COMMON if given.get(name) is None]:
        raise UserError(f"{path}: {', '.join(missing)} is missing")
    for name, default in plain.items():
        refuse_other_kind(path, name, given[name], default)
    if (base := (fields.get("rope_parameters") or {}).get("rope_theta")) is not None:
        if fields.get("rope_theta") not in (None, base):
            raise UserError(
                f"{path}: rope_theta is {given['rope_theta']}, but {base} in rope_parameters; keep "
                "one"
            )
        given["rope_theta"] = base
    given["rope_theta"] = float(given["rope_theta"])
    given["mlp_only_layers"] = tuple(given.get("mlp_only_layers", ()))
    for name in family.switches:  # those that its config.json has no field for
        given.setdefault(name, True)
    shape = with_usual_sizes(ModelConfig(**given, rope_scaling=scaling))
    if problems := shape.problems():
        raise UserError(f"{path}: {problems[0]}")
    listed = fields.get("no_rope_layers") or rope_layers(shape)
    if shape.no_rope_layer_interval and listed[: shape.num_hidden_layers] != rope_layers(shape):
        raise UserError(
            f"{path}: no_rope_layers is not every {shape.no_rope_layer_interval}th layer, as "
            "no_rope_layer_interval says: such a model cannot be used"
        )
    return shape


def stated(fields: Mapping[str, Any], family: Family) -> dict[str, Any]:
    """The fields of a ModelConfig that a config.json says; null only where that is a value."""
    known = {*COMMON, *family.fields}
    found = {
        name: value
        for name, value in fields.items()
        if name in known and (value is not None or name == "sliding_window")
    }
    if "num_experts" in family.fields:
        count = fields.get("num_local_experts", fields.get("num_experts"))
        found |= {} if count is None else {"num_experts": count}
    return found


def refuse_other_networks(path: Path, fields: Mapping[str, Any], family: Family) -> None:
    """Raises UserError when a config.json asks for what the network does not have."""
    # A switch that no field of this family turns on: a Llama with a sliding_window, say. Where
    # there is a use_sliding_window, a window beside it means nothing.
    absent = {name: None for name in SWITCHES if name not in (*family.fields, *family.switches)}
    if "use_sliding_window" in family.constants:
        absent.pop("sliding_window", None)
    for name, needed in {**absent, **NEEDED, **family.constants}.items():
        value = fields.get(name, needed)
        if value != needed and (needed is not None or value):
            raise UserError(
                f"{path}: {name} is {value!r}, which Etude's network does not have (it has "
                f"{needed!r}): such a model cannot be used"
            )
    kinds = set(fields.get("layer_types") or ()) - {"full_attention"}
    if kinds and "sliding_window" not in family.switches:
        raise UserError(
            f"{path}: layer_types has {', '.join(map(str, sorted(kinds)))}, and Etude's layers are "
            "all alike: such a model cannot be used"
        )


def refuse_other_kind(path: Path, name: str, value: Any, default: Any) -> None:
    """Raises UserError when a value is not of the kind of a field's default."""
    kind: type = int if default is None else list if isinstance(default, tuple) else type(default)
    kinds = (int, float) if kind is float else (kind,)
    right = type(value) in kinds or (value is None and default is None)
    if kind is list and right:
        right = all(type(item) is int for item in value)
    if not right:
        raise UserError(
            f"{path}: {name} is {value!r}, not a {kind.__name__}; restore the file that was saved "
            "with the model"
        )


def with_usual_sizes(shape: ModelConfig) -> ModelConfig:
    """A shape in which a size that is as its default is left to it."""
    usual = dataclasses.replace(shape, head_dim=None, moe_intermediate_size=None)
    head_dim = None if shape.head_dim == usual.head_size else shape.head_dim
    expert = None if shape.expert_size == usual.expert_size else shape.moe_intermediate_size
    return dataclasses.replace(shape, head_dim=head_dim, moe_intermediate_size=expert)


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
    """The content of a model directory's `config.json`; UserError when it is not that of one of
    FAMILIES."""
    recover(directory)
    path = directory / "config.json"
    if not path.is_file():
        raise UserError(f"{directory}: there is no model here {what_is_instead(directory)}")
    try:
        fields = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise UserError(f"{path}: not readable as JSON ({error})") from error
    kind = fields.get("model_type") if isinstance(fields, dict) else fields
    if not isinstance(fields, dict) or kind not in [*FAMILIES]:
        raise UserError(
            f"{path}: model_type is {kind!r:.40}, and Etude's network is one of "
            f"{', '.join(FAMILIES)}; name the directory of an Etude model"
        )
    return fields
