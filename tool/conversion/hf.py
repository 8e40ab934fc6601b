"""Between an Etude model directory and that of a stock class of transformers, both ways.

The parameters already carry transformers' names and layout, so an export is a copy, in the number
format asked for, that is proved before it takes its place. So is an import, see `importing.py`.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path, PureWindowsPath

import torch
from huggingface_hub import save_torch_state_dict
from tokenizers import Tokenizer
from transformers import AutoTokenizer

from config import UserError, converted_dir
from model.chat_template import read_chat_format
from model.directory.config_json import load_model_config
from model.directory.pretrained import (
    WEIGHTS,
    is_chat_model,
    load_pretrained,
    model_files,
    stored_weights,
    weights_of,
)
from model.directory.storage import SUMMARY, json_writer, new_directory, read_object_if_there
from model.directory.tensors import split_experts
from model.tokenizer import EtudeTokenizer
from model.transformer import Etude
from tool.conversion.hf_proof import (
    Proof,
    check_template,
    many_conversations,
    prove,
)
from tool.conversion.import_proof import prove_hf_import
from tool.conversion.importing import Arrival, Imported, bring_in, fitted, refuse_to_replace
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
    refuse_other_directories(output_dir, config.model_dir, config.overwrite)
    model, tokenizer = load_pretrained(config.model_dir)
    is_chat = is_chat_model(config.model_dir)
    dtype: torch.dtype = getattr(torch, config.dtype)
    round_weights(model, dtype)
    weights = {name: tensor.to(dtype) for name, tensor in weights_of(model).items()}
    files = model_files(model.config, weights, tokenizer, read_summary(config.model_dir), is_chat)
    if config.max_shard_mb:
        del files[WEIGHTS]
    with new_directory(output_dir) as aside:
        for name, write in files.items():
            write(aside / name)
        if config.max_shard_mb:
            shards = {  # huggingface_hub takes no parts of a tensor
                name: tensor if name in weights else tensor.clone()
                for name, tensor in split_experts(weights).items()
            }
            save_torch_state_dict(shards, aside, max_shard_size=config.max_shard_mb * 1_000_000)
        proof = prove(aside, model, tokenizer, is_chat, dtype)
        report = {"converted_from": config.model_dir.resolve().name, "dtype": config.dtype}
        json_writer({**report, "proof": dataclasses.asdict(proof)})(aside / REPORT)
    return output_dir, proof


def refuse_other_directories(output_dir: Path, model_dir: Path, overwrite: bool) -> None:
    """Raises UserError when the output directory holds something that is not a conversion."""
    if output_dir.resolve() == model_dir.resolve():
        raise UserError(f"--output_dir {output_dir} is the model itself; name another directory")
    if output_dir.exists() and not output_dir.is_dir():
        raise UserError(f"--output_dir {output_dir} is a file; name a directory")
    if overwrite or not output_dir.exists() or not any(output_dir.iterdir()):
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
    summary = read_object_if_there(directory / SUMMARY)
    if "imported_from" in summary:
        summary["imported_from"] = last_name(str(summary["imported_from"]))
    command = summary.get("command")
    if isinstance(command, list):
        summary["command"] = [last_name(str(word)) for word in command]
    return summary


def last_name(word: str) -> str:
    """Of a path its last name, also behind --flag=; other words as they are."""
    flag, equals, value = word.rpartition("=") if word.startswith("--") else ("", "", word)
    return flag + equals + (PureWindowsPath(value).name or value)  # it knows both slashes


def import_hf(directory: Path, config: ConvertConfig) -> Imported:
    """Writes an Etude model directory of one of transformers.

    Args:
        directory: the model's.
        config: where to write, in which number format, and whether something may be replaced.

    Raises:
        UserError: it is of another class, or has features that Etude does not have (named).
        ProofFailed: transformers disagrees; nothing is written.
    """
    output_dir = config.output_dir or config.model_dir
    refuse_to_replace(output_dir, directory, config.overwrite)
    shape = load_model_config(directory)
    tokenizer, added = read_tokenizer(directory)
    arrival = Arrival(directory, shape, stored_weights(directory, shape), tokenizer, added)
    renderings = 0 if tokenizer.chat_format.is_etudes else agreed(directory, tokenizer)
    dtype: torch.dtype = getattr(torch, config.weights)
    return bring_in(
        arrival, output_dir, dtype, lambda made: prove_hf_import(directory, made, renderings, dtype)
    )


def agreed(directory: Path, tokenizer: EtudeTokenizer) -> int:
    """How many conversations transformers makes the same ids of; UserError when it makes others."""
    try:
        theirs = AutoTokenizer.from_pretrained(directory, local_files_only=True)
        return check_template(theirs, tokenizer, list(many_conversations()))
    except Exception as error:  # whatever transformers raises
        raise UserError(
            f"{directory}: transformers and Etude do not agree about its chat template ({error}): "
            "such a model cannot be used; without its chat template it would be written to in "
            "ChatML"
        ) from error


def read_tokenizer(directory: Path) -> tuple[EtudeTokenizer, tuple[str, ...]]:
    """The tokenizer, with the tokens of the chat format, and those that were added.

    Raises:
        UserError: there is no tokenizer.json, or it cannot be read.
    """
    path = directory / "tokenizer.json"
    if not path.is_file():
        raise UserError(f"{path} is missing: a fast tokenizer is needed")
    try:
        backend = Tokenizer.from_file(str(path))
    except Exception as error:  # tokenizers raises plain Exception
        raise UserError(f"{path}: not a readable tokenizer ({error})") from error
    return fitted(backend, read_chat_format(directory))
