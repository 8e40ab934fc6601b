"""The model directory: everything about a model, readable by transformers as it stands.

`config.json` (that of a Llama), `model.safetensors`, `tokenizer.json`, `tokenizer_config.json` with
the chat template, `generation_config.json`, `training_summary.json` and `MANIFEST.json` with
checksums.
"""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from config import ModelConfig, RopeScaling, UserError
from model.directory.storage import (
    MANIFEST,
    SUMMARY,
    Writer,
    json_writer,
    recover,
    text_writer,
    update_directory,
    verify,
)
from model.tokenizer import END_OF_TEXT, IM_END, EtudeTokenizer, tokenizer_config, tokenizer_json
from model.transformer import Etude

WEIGHTS = "model.safetensors"


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
        "bos_token_id": tokenizer.end_of_text_id,
        "eos_token_id": tokenizer.im_end_id if is_chat else tokenizer.end_of_text_id,
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
    kind = given.get("rope_type", given.get("type", "default"))
    if kind not in SCALING_FIELDS:
        raise UserError(
            f"{path}: rope_type {kind!r} is not one of {', '.join(SCALING_FIELDS)}: such a model "
            "cannot be used"
        )
    for name, usual in OTHER_SCALING.items():
        if kind != "default" and given.get(name, usual) not in (usual, None):
            raise UserError(
                f"{path}: {kind} scaling has the {name} {given[name]!r}, which Etude does not "
                "have: such a model cannot be used"
            )
    known = {name: given[name] for name in SCALING_FIELDS[kind] if name in given}
    return RopeScaling(rope_type=kind, **known)


def generation_config(tokenizer: EtudeTokenizer, is_chat: bool) -> dict[str, Any]:
    """The content of `generation_config.json`: a chat ends at the end of the turn, a text at the
    end of the text."""
    beginning = tokenizer.end_of_text_id
    ends = list(tokenizer.end_ids(is_chat))
    return {
        "bos_token_id": beginning,
        "eos_token_id": ends,
        "pad_token_id": beginning,
        "do_sample": False,
    }


def model_files(
    config: ModelConfig,
    weights: Mapping[str, Tensor],
    tokenizer: EtudeTokenizer,
    summary: Mapping[str, Any],
    is_chat: bool,
) -> dict[str, Writer]:
    """The files of a model directory, keyed by name, as writers for `model/directory/storage.py`.

    Args:
        config: the shape.
        weights: what `weights_of` returns, or the same in another dtype.
        tokenizer: the model's tokenizer.
        summary: the content of `training_summary.json`.
        is_chat: whether the model answers (ends at <|im_end|>) or only continues texts (ends at
            <|endoftext|>).
    """
    dtype = next(iter(weights.values())).dtype
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in weights.items()}
    end_token = IM_END if is_chat else END_OF_TEXT
    stated = tokenizer_config(config.max_position_embeddings, end_token)
    return {
        "config.json": json_writer(llama_config(config, tokenizer, is_chat, dtype)),
        WEIGHTS: lambda path: save_tensors(tensors, path),
        "tokenizer.json": text_writer(tokenizer_json(tokenizer)),
        "tokenizer_config.json": text_writer(stated),
        "generation_config.json": json_writer(generation_config(tokenizer, is_chat)),
        SUMMARY: json_writer(summary),
    }


def save_tensors(tensors: Mapping[str, Tensor], path: Path) -> None:
    """Writes a safetensors file as transformers likes it, for whoever may read other new files
    (safetensors makes it for its owner alone)."""
    save_file(dict(tensors), path, metadata={"format": "pt"})
    mask = os.umask(0)
    os.umask(mask)
    path.chmod(0o666 & ~mask)


def weights_of(model: Etude) -> dict[str, Tensor]:
    """The model's weights by their Llama names; a tied output layer is left out, as in
    transformers."""
    weights = dict(model.state_dict())
    if model.config.tie_word_embeddings:
        del weights["lm_head.weight"]
    return weights


def save_pretrained(
    directory: Path,
    model: Etude,
    tokenizer: EtudeTokenizer,
    summary: Mapping[str, Any],
    is_chat: bool,
) -> None:
    """Writes a model directory; other things in it (checkpoints, logs) stay."""
    files = model_files(model.config, weights_of(model), tokenizer, summary, is_chat)
    update_directory(directory, files)


def load_pretrained(
    directory: Path, device: torch.device | str = "cpu"
) -> tuple[Etude, EtudeTokenizer]:
    """Reads a model directory.

    Returns:
        The model in float32 on the device, in evaluation mode, and its tokenizer.

    Raises:
        UserError: the directory is missing, damaged, or holds something that is not an Etude.
    """
    config = load_model_config(directory)
    if (directory / MANIFEST).exists():
        verify(directory)
    tokenizer = EtudeTokenizer.load(directory)
    if len(tokenizer) != config.vocab_size:
        raise UserError(
            f"{directory}: the tokenizer has {len(tokenizer)} tokens and the model "
            f"{config.vocab_size}: they do not belong together; restore the files that were saved "
            "with the model"
        )
    model = Etude(config)
    load_weights(model, directory / WEIGHTS)
    return model.to(device).eval(), tokenizer


def load_weights(
    model: Etude,
    path: Path,
    placed_like: Callable[[Tensor, Tensor], Tensor] = lambda weight, own: weight,
) -> None:
    """Copies the weights of a safetensors file into the model; every name and shape must agree.

    Args:
        model: the network.
        path: the file.
        placed_like: makes of a weight what can be copied into the model's own, where several
            processes share the model (`train/distributed.py`).
    """
    try:
        weights = load_file(path)
    except FileNotFoundError as error:
        raise UserError(
            f"{path} is missing: train the model first, or name another directory"
        ) from error
    except SafetensorError as error:
        raise UserError(f"{path}: not a readable safetensors file ({error})") from error
    copy_weights(model, weights, path, placed_like)


def copy_weights(
    model: Etude,
    weights: Mapping[str, Tensor],
    path: Path,
    placed_like: Callable[[Tensor, Tensor], Tensor] = lambda weight, own: weight,
) -> None:
    """Copies weights that were read from a path into the model, as `load_weights` does.

    Raises:
        UserError: a name or a shape does not agree.
    """
    own = weights_of(model)
    for name in [*own, *weights]:
        if name not in weights or name not in own:
            what = "is missing" if name not in weights else "is not part of the model"
            raise UserError(f"{path}: the weight {name} {what}; config.json does not belong to it")
        if weights[name].shape != own[name].shape:
            raise UserError(
                f"{path}: {name} has the shape {tuple(weights[name].shape)}, but config.json asks "
                f"for {tuple(own[name].shape)}"
            )
    with torch.no_grad():
        for name, tensor in own.items():
            tensor.copy_(placed_like(weights[name], tensor))


def load_model_config(directory: Path) -> ModelConfig:
    """The shape that a model directory's `config.json` holds.

    Raises:
        UserError: there is no such directory, or it holds another kind of model.
    """
    fields = read_config_json(directory)
    plain = {f.name: f.default for f in dataclasses.fields(ModelConfig) if f.name != "rope_scaling"}
    if missing := [name for name in plain if name not in fields]:
        raise UserError(f"{directory / 'config.json'}: {', '.join(missing)} is missing")
    for name, default in plain.items():
        kinds = (int, float) if isinstance(default, float) else (type(default),)
        if type(fields[name]) not in kinds:
            raise UserError(
                f"{directory / 'config.json'}: {name} is {fields[name]!r}, not a "
                f"{type(default).__name__}; restore the file that was saved with the model"
            )
    scaling = read_scaling(directory / "config.json", fields)
    config = ModelConfig(**{name: fields[name] for name in plain}, rope_scaling=scaling)
    if problems := config.problems():
        raise UserError(f"{directory / 'config.json'}: {problems[0]}")
    return config


def read_config_json(directory: Path) -> dict[str, Any]:
    """The content of a model directory's `config.json`; UserError when it is not that of a
    Llama."""
    recover(directory)
    path = directory / "config.json"
    if not path.is_file():
        raise UserError(
            f"{directory}: there is no model here (no config.json); train one with "
            "`python train/train_pretrain.py` and `python train/train_sft.py`, or name its "
            "directory"
        )
    try:
        fields = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise UserError(f"{path}: not readable as JSON ({error})") from error
    if not isinstance(fields, dict) or fields.get("model_type") != "llama":
        raise UserError(f"{path}: not a Llama model; name the directory of an Etude model")
    return fields


def is_chat_model(directory: Path) -> bool:
    """Whether the model in a directory was fine-tuned on conversations: its turns end with
    <|im_end|>."""
    tokenizer = EtudeTokenizer.load(directory)
    return read_config_json(directory).get("eos_token_id") == tokenizer.im_end_id
