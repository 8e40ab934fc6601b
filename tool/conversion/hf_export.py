"""From an Etude model directory to a stock `LlamaForCausalLM` directory.

The parameters already carry Llama's names and layout, so this is a copy, in the number format asked
for, that is proved before it takes its place.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from functools import partial
from pathlib import Path, PureWindowsPath

import torch
from huggingface_hub import split_torch_state_dict_into_shards
from torch import Tensor

from config import UserError, converted_dir
from model.directory.pretrained import (
    WEIGHTS,
    is_chat_model,
    load_pretrained,
    model_files,
    save_tensors,
    weights_of,
)
from model.directory.storage import SUMMARY, Writer, json_writer, new_directory
from model.transformer import Etude
from tool.conversion.hf_proof import Proof, prove
from tool.settings import ConvertConfig

REPORT = "conversion.json"
"""What was converted, and its proof; its presence marks a directory as a conversion."""


def convert(config: ConvertConfig) -> tuple[Path, Proof]:
    """Writes the converted directory, if the proof holds.

    Returns:
        The directory and the proof.

    Raises:
        UserError: there is no model, or the output directory must not be replaced.
        ProofFailed: the result disagrees with the model; nothing is written.
    """
    output_dir = config.output_dir or converted_dir(config.model_dir)
    refuse_other_directories(output_dir, config)
    model, tokenizer = load_pretrained(config.model_dir)
    is_chat = is_chat_model(config.model_dir)
    dtype: torch.dtype = getattr(torch, config.dtype)
    round_weights(model, dtype)
    weights = {name: tensor.to(dtype) for name, tensor in weights_of(model).items()}
    files = model_files(model.config, weights, tokenizer, read_summary(config.model_dir), is_chat)
    if config.max_shard_mb:
        del files[WEIGHTS]
        files |= shard_files(weights, config.max_shard_mb * 1_000_000)
    with new_directory(output_dir) as aside:
        for name, write in files.items():
            write(aside / name)
        proof = prove(aside, model, tokenizer, is_chat, dtype)
        report = {"converted_from": config.model_dir.resolve().name, "dtype": config.dtype}
        json_writer({**report, "proof": dataclasses.asdict(proof)})(aside / REPORT)
    return output_dir, proof


def shard_files(weights: Mapping[str, Tensor], most_bytes: int) -> dict[str, Writer]:
    """Writers of safetensors files of a size at most (a single weight may be larger), and of the
    index that transformers looks for; none of one file is an index."""
    split = split_torch_state_dict_into_shards(dict(weights), max_shard_size=most_bytes)
    files: dict[str, Writer] = {}
    for file, names in split.filename_to_tensors.items():
        shard = {name: weights[name].contiguous() for name in names}
        files[file] = partial(save_tensors, shard)
    if split.is_sharded:
        index = {"metadata": split.metadata, "weight_map": split.tensor_to_filename}
        files[f"{WEIGHTS}.index.json"] = json_writer(index)
    return files


def refuse_other_directories(output_dir: Path, config: ConvertConfig) -> None:
    """Raises UserError when the output directory holds something that is not a conversion."""
    if output_dir.resolve() == config.model_dir.resolve():
        raise UserError(f"--output_dir {output_dir} is the model itself; name another directory")
    if output_dir.exists() and not output_dir.is_dir():
        raise UserError(f"--output_dir {output_dir} is a file; name a directory")
    if config.overwrite or not output_dir.exists() or not any(output_dir.iterdir()):
        return
    if not (output_dir / REPORT).is_file():
        raise UserError(
            f"--output_dir {output_dir} holds something that is not an earlier conversion; name "
            "another directory, or replace it with --overwrite"
        )


@torch.no_grad()
def round_weights(model: Etude, dtype: torch.dtype) -> None:
    """Rounds the weights to a number format; UserError when one is too large for it."""
    for name, tensor in weights_of(model).items():
        rounded = tensor.to(dtype)
        if not rounded.isfinite().all():
            raise UserError(
                f"--dtype {str(dtype).removeprefix('torch.')}: {name} holds a value that is not a "
                "finite number in this format; use --dtype bfloat16 or float32, and if that fails "
                "too, the training has diverged"
            )
        tensor.copy_(rounded)


def read_summary(directory: Path) -> dict[str, object]:
    """What made the model, from its `training_summary.json`; empty when there is none.

    Of paths in the command only the last name is left: a conversion is made to be given away, and
    nobody needs to know where its maker's files lie.
    """
    try:
        summary = json.loads((directory / SUMMARY).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    if not isinstance(summary, dict):
        return {}
    command = summary.get("command")
    if isinstance(command, list):
        summary["command"] = [last_name(str(word)) for word in command]
    return summary


def last_name(word: str) -> str:
    """Of a path its last name, also behind --flag=; other words as they are."""
    flag, equals, value = word.rpartition("=") if word.startswith("--") else ("", "", word)
    return flag + equals + (PureWindowsPath(value).name or value)  # it knows both slashes
