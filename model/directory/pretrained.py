"""The model directory: everything about a model, readable by transformers as it stands.

`config.json` (that of a Llama), `model.safetensors`, `tokenizer.json`, `tokenizer_config.json` with
the chat template, `generation_config.json`, `training_summary.json` and `MANIFEST.json` with
checksums.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from config import ModelConfig, UserError
from model.directory.llama_config import (
    generation_config,
    llama_config,
    load_model_config,
    read_config_json,
)
from model.directory.storage import (
    MANIFEST,
    SUMMARY,
    Writer,
    json_writer,
    sha256_of,
    text_writer,
    update_directory,
    verify,
)
from model.tokenizer import EtudeTokenizer, import_command, tokenizer_config, tokenizer_json
from model.transformer import Etude

WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"
HEAD = "lm_head.weight"


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
        is_chat: whether the model answers (and ends its turn) or only continues texts (and ends
            at <|endoftext|>).
    """
    dtype = next(iter(weights.values())).dtype
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in weights.items()}
    end_token = tokenizer.backend.id_to_token(tokenizer.end_ids(is_chat)[0])
    stated = tokenizer_config(config.max_position_embeddings, end_token or "", tokenizer)
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
        del weights[HEAD]
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
    """Reads a model directory, Etude's or one that transformers has saved.

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
            f"with the model, or if it is not Etude's, {import_command(directory)}"
        )
    model = Etude(config)
    copy_weights(model, read_weights(directory, config), directory)
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
    copy_weights(model, read_safetensors(path), path, placed_like)


def read_safetensors(path: Path) -> dict[str, Tensor]:
    """The tensors of a file; UserError when it is missing or damaged."""
    try:
        return load_file(path)
    except FileNotFoundError as error:
        raise UserError(
            f"{path} is missing: train the model first, or name another directory; only "
            "safetensors files are read"
        ) from error
    except SafetensorError as error:
        raise UserError(f"{path}: not a readable safetensors file ({error})") from error


def weight_files(directory: Path) -> list[Path]:
    """The one file of weights, or the shards that an index names; UserError when the index is
    damaged."""
    index = directory / INDEX
    if not index.is_file():
        return [directory / WEIGHTS]
    try:
        names = set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
        return [directory / Path(name).name for name in sorted(names)]
    except (ValueError, KeyError, AttributeError, TypeError) as error:
        raise UserError(f"{index}: not an index of safetensors files ({error})") from error


def read_weights(directory: Path, shape: ModelConfig) -> dict[str, Tensor]:
    """The weights of a Llama directory, in float32; an output layer that is tied to the embedding
    is left out."""
    weights: dict[str, Tensor] = {}
    for path in weight_files(directory):
        weights.update(read_safetensors(path))
    if shape.tie_word_embeddings:
        weights.pop(HEAD, None)
    return {name: tensor.float() for name, tensor in weights.items() if "rotary_emb" not in name}


def weights_sha256(directory: Path) -> str:
    """Fingerprint of a directory's weights: that of the file, or of its shards' fingerprints."""
    prints = [sha256_of(path) for path in weight_files(directory)]
    return prints[0] if len(prints) == 1 else hashlib.sha256("".join(prints).encode()).hexdigest()


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


def is_chat_model(directory: Path) -> bool:
    """Whether the model in a directory was fine-tuned on conversations: what ends a turn by its
    chat template ends what it generates."""
    read_config_json(directory)  # names a directory that holds no model
    tokenizer = EtudeTokenizer.load(directory)
    return tokenizer.end_of_turn_id in tokenizer.chat_format.eos_ids
