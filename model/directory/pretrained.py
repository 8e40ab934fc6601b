"""The model directory: everything about a model, readable by transformers as it stands.

`config.json` (that of a stock class), `model.safetensors`, `tokenizer.json`,
`tokenizer_config.json` with the chat template, `generation_config.json`, `training_summary.json`
and `MANIFEST.json` with checksums.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from config import ModelConfig, UserError
from model.adapters import MARK, adapter_weights, attach, linear_layers, merge_adapter
from model.directory.adapter_files import BASE_LAYER, base_directory, is_adapter, read_adapter
from model.directory.config_json import (
    config_json,
    generation_config,
    load_model_config,
    read_config_json,
)
from model.directory.storage import (
    MANIFEST,
    SUMMARY,
    Writer,
    json_writer,
    read_object_if_there,
    sha256_of,
    text_writer,
    update_directory,
    verify,
)
from model.directory.tensors import (
    join_experts,
    read_each,
    read_safetensors,
    save_tensors,
    split_experts,
)
from model.tokenizer import EtudeTokenizer, import_command, tokenizer_config, tokenizer_json
from model.transformer import Etude

WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"
HEAD = "lm_head.weight"
EMBEDDING = "model.embed_tokens.weight"
HASHED = 1 << 22
"""Weights that are made float32 at once for their fingerprint."""


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
    tensors = {n: t.detach().cpu().contiguous() for n, t in split_experts(weights).items()}
    end_token = tokenizer.backend.id_to_token(tokenizer.end_ids(is_chat)[0])
    stated = tokenizer_config(config.max_position_embeddings, end_token or "", tokenizer)
    return {
        "config.json": json_writer(config_json(config, tokenizer, is_chat, dtype)),
        WEIGHTS: lambda path: save_tensors(tensors, path),
        "tokenizer.json": text_writer(tokenizer_json(tokenizer)),
        "tokenizer_config.json": text_writer(stated),
        "generation_config.json": json_writer(generation_config(tokenizer, is_chat)),
        SUMMARY: json_writer(summary),
    }


def weights_of(model: Etude) -> dict[str, Tensor]:
    """The model's weights, those of all experts of a block as one, without those of an adapter; a
    tied output layer is left out, as in transformers."""
    weights = {name: tensor for name, tensor in model.state_dict().items() if MARK not in name}
    if model.config.tie_word_embeddings:
        del weights[HEAD]
    return weights


def base_sha256(model: Etude, done_with: Callable[[str], None] = lambda name: None) -> str:
    """Fingerprint of a model's weights in float32, however they were stored; an adapter is left
    out. Each weight's name is then given to `done_with`, which may change it."""
    digest = hashlib.sha256()
    for name in sorted(weights_of(model)):
        add_weight(digest, name, model.get_parameter(name).detach())
        done_with(name)
    return digest.hexdigest()


def add_weight(digest: hashlib._Hash, name: str, weight: Tensor) -> None:
    """Adds a weight to a fingerprint; a piece at a time is in float32."""
    digest.update(f"{name} {tuple(weight.shape)}\n".encode())
    flat = weight.flatten()
    for start in range(0, len(flat), HASHED):
        digest.update(flat[start : start + HASHED].float().cpu().numpy().data)


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
    directory: Path, device: torch.device | str = "cpu", known: bool = False, stored: bool = False
) -> tuple[Etude, EtudeTokenizer]:
    """Reads a model directory, Etude's or one that transformers has saved; of an adapter's, the
    base beside which it was trained, with the adapter merged into it.

    Args:
        directory: the model's or the adapter's.
        device: where the model goes.
        known: checksums of files that have not changed since they were last compared are not
            compared again; for a model that is only used.
        stored: the weights stay in the format of the file.

    Returns:
        The model in float32 on the device, in evaluation mode, and its tokenizer.

    Raises:
        UserError: the directory is missing, damaged, or holds something that is not an Etude.
    """
    if is_adapter(directory):
        base = base_directory(directory)
        model, tokenizer = load_adapted(base, directory, known=known, stored=stored)
        merge_adapter(model)
        return model.to(device), tokenizer
    config = load_model_config(directory)
    if (directory / MANIFEST).exists():
        verify(directory, known=known)
    tokenizer = EtudeTokenizer.load(directory)
    if len(tokenizer) != config.vocab_size:
        raise UserError(
            f"{directory}: the tokenizer has {len(tokenizer)} tokens and the model "
            f"{config.vocab_size}: they do not belong together; restore the files that were saved "
            f"with the model, or if it is not Etude's, {import_command(directory)}"
        )
    model = model_with(config, read_weights(directory, config, stored), directory)
    return model.to(device).eval(), tokenizer


class WithoutMemory(TorchFunctionMode):
    """Tensors that are made to be filled get no memory, and no initial values. (On the device meta
    all would be, also what is computed, for which torch first imports its compiler: a second.)"""

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: Any | None = None
    ) -> Any:
        """Calls a function of torch, unless it is one of torch.nn.init."""
        given = kwargs or {}
        if getattr(func, "__module__", None) == "torch.nn.init":
            return args[0] if args else given["tensor"]
        return func(*args, **given | ({"device": "meta"} if func is torch.empty else {}))


def empty_model(config: ModelConfig) -> Etude:
    """A model of a shape whose weights take no memory and hold nothing."""
    with WithoutMemory():
        return Etude(config)


def model_with(config: ModelConfig, weights: Mapping[str, Tensor], path: Path) -> Etude:
    """A model of these weights themselves, not of copies: those of a file are read from it when
    they are first used, and written to memory alone.

    Raises:
        UserError: a name or a shape does not agree.
    """
    model = empty_model(config)
    check_weights(weights_of(model), weights, path)
    model.load_state_dict(weights, strict=False, assign=True)
    if config.tie_word_embeddings:
        model.lm_head.weight = model.model.embed_tokens.weight
    return model


def load_adapted(
    base: Path,
    adapter: Path,
    device: torch.device | str = "cpu",
    known: bool = False,
    stored: bool = False,
) -> tuple[Etude, EtudeTokenizer]:
    """Reads a base and an adapter of it, which stays apart from the base's weights;
    arguments as of `load_pretrained`.

    Returns:
        The model as of `load_pretrained`, and the adapter's tokenizer, or where it has none the
        base's.

    Raises:
        UserError: one of them is missing or damaged, or the adapter is that of another base.
    """
    model, tokenizer = load_pretrained(base, device, known, stored)
    tokenizer = put_adapter(model, adapter, base, tokenizer)
    return model, tokenizer


def put_adapter(
    model: Etude, adapter: Path, base: Path, tokenizer: EtudeTokenizer
) -> EtudeTokenizer:
    """Freezes a model and puts the adapter of a directory on it.

    Args:
        model: the base, on its device.
        adapter: the directory.
        base: the base's, for messages.
        tokenizer: the base's.

    Returns:
        The adapter's tokenizer, or where it has none the base's.

    Raises:
        UserError: as of `load_adapted`.
    """
    lora, weights = read_adapter(adapter)
    made_for = read_object_if_there(adapter / SUMMARY).get("base_sha256")
    if made_for and made_for != base_sha256(model):
        raise UserError(
            f"{adapter}: an adapter of other weights than those of {base}: name the base that it "
            "was trained on (its adapter_config.json says where that was)"
        )
    ranks = {n.partition(MARK)[0]: len(t) for n, t in weights.items() if "lora_A" in n}
    layers = linear_layers(model)
    if strange := [name for name in ranks if name not in layers]:
        raise UserError(f"{adapter}: {base} has no linear layer {strange[0]}: name its own base")
    own = weights_of(model)
    for name in [name for name in weights if name.endswith(BASE_LAYER)]:
        known = own.get(name.replace(BASE_LAYER, ".weight"), own[EMBEDDING])  # tied to it
        if not torch.equal(weights.pop(name).to(known.device), known):
            raise UserError(f"{adapter}: {name} is not the weight that {base} has: name its own")
    attach(model, ranks, lora)
    copy_weights(model, weights, adapter, of=adapter_weights)
    model.eval()
    if not (adapter / "tokenizer.json").is_file():
        return tokenizer
    other = EtudeTokenizer.load(adapter)
    if other.fingerprint != tokenizer.fingerprint:
        raise UserError(f"{adapter}: its tokenizer is not that of {base}: name its own base")
    return other


def load_weights(
    model: Etude,
    directory: Path,
    placed_like: Callable[[Tensor, Tensor], Tensor] = lambda weight, own: weight,
) -> None:
    """Copies the weights of a directory into the model, into its adapter where the directory holds
    one; every name and shape must agree.

    Args:
        model: the network.
        directory: where a model or an adapter was saved.
        placed_like: makes of a weight what can be copied into the model's own, where several
            processes share the model (`train/distributed.py`).
    """
    if is_adapter(directory):
        copy_weights(model, read_adapter(directory)[1], directory, placed_like, adapter_weights)
    else:
        weights = join_experts(read_safetensors(directory / WEIGHTS))
        copy_weights(model, weights, directory, placed_like)


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


def read_weights(directory: Path, shape: ModelConfig, stored: bool = False) -> dict[str, Tensor]:
    """The weights of a directory, in float32 or as they are stored; an output layer that is tied to
    the embedding is left out."""
    found = stored_weights(directory, shape)
    weights = {name: tensor if stored else tensor.float() for name, tensor in found}
    return join_experts(weights)


def stored_weights(directory: Path, shape: ModelConfig) -> Iterator[tuple[str, Tensor]]:
    """The weights of a directory as they are stored, one after the other; raises as
    `read_weights`."""
    for path in weight_files(directory):
        for name, tensor in read_each(path):
            tied = shape.tie_word_embeddings and name == HEAD
            if not tied and "rotary_emb" not in name:
                yield name, tensor


def weights_sha256(directory: Path) -> str:
    """Fingerprint of a directory's weights: that of the file, or of its shards' fingerprints.

    Raises:
        UserError: the directory holds an adapter.
    """
    if is_adapter(directory):
        raise UserError(
            f"{directory} is an adapter, and training starts from a whole model: make one with "
            f"`python tool/merge_adapter.py --adapter_dir {directory}`"
        )
    prints = [sha256_of(path) for path in weight_files(directory)]
    return prints[0] if len(prints) == 1 else hashlib.sha256("".join(prints).encode()).hexdigest()


def copy_weights(
    model: Etude,
    weights: Mapping[str, Tensor],
    path: Path,
    placed_like: Callable[[Tensor, Tensor], Tensor] = lambda weight, own: weight,
    of: Callable[[Etude], dict[str, Tensor]] = weights_of,
) -> None:
    """Copies weights that were read from a path into the model's weights, or those of its adapter,
    as `load_weights` does.

    Raises:
        UserError: a name or a shape does not agree.
    """
    own = of(model)
    check_weights(own, weights, path)
    with torch.no_grad():
        for name, tensor in own.items():
            tensor.copy_(placed_like(weights[name], tensor))


def check_weights(own: Mapping[str, Tensor], weights: Mapping[str, Tensor], path: Path) -> None:
    """Raises UserError when weights that were read from a path have other names or shapes than a
    model's own."""
    for name in [*own, *weights]:
        if name not in weights or name not in own:
            what = "is missing" if name not in weights else "is not part of the model"
            raise UserError(f"{path}: the weight {name} {what}; config.json does not belong to it")
        if weights[name].shape != own[name].shape:
            raise UserError(
                f"{path}: {name} has the shape {tuple(weights[name].shape)}, but config.json asks "
                f"for {tuple(own[name].shape)}"
            )


def is_chat_model(directory: Path) -> bool:
    """Whether the model in a directory was fine-tuned on conversations: what ends a turn by its
    chat template ends what it generates. An adapter that does not say so is as its base."""
    if not is_adapter(directory):
        read_config_json(directory)  # names a directory that holds no model
    elif not (directory / "generation_config.json").is_file():
        return is_chat_model(base_directory(directory))
    tokenizer = EtudeTokenizer.load(directory)
    return tokenizer.end_of_turn_id in tokenizer.chat_format.eos_ids
