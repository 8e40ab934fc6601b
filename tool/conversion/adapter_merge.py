"""From a base and its adapter to one model directory, which transformers reads as it stands."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import torch

from model.adapters import merge_adapter, sharing_copy
from model.directory.adapter_files import base_directory
from model.directory.pretrained import is_chat_model, load_adapted, model_files, weights_of
from model.directory.storage import json_writer, new_directory
from tool.conversion.hf import REPORT, read_summary, refuse_other_directories
from tool.conversion.hf_proof import Proof, prove
from tool.settings import MergeConfig


def merge(config: MergeConfig) -> tuple[Path, Proof]:
    """Writes the merged model, if the proof holds: transformers, on the one weight of each layer,
    agrees with base and adapter side by side.

    Returns:
        The directory and the proof.

    Raises:
        UserError: base or adapter is missing or damaged, they do not belong together, or the output
            directory must not be replaced.
        ProofFailed: the result disagrees; nothing is written.
    """
    adapter = config.adapter_dir.resolve()
    output_dir = config.output_dir or adapter.with_name(f"{adapter.name}_merged")
    refuse_other_directories(output_dir, adapter, config.overwrite)
    base = config.model_dir or base_directory(config.adapter_dir)
    apart, tokenizer = load_adapted(base, config.adapter_dir)
    is_chat = is_chat_model(config.adapter_dir)
    merged = sharing_copy(apart)
    merge_adapter(merged)
    summary = read_summary(config.adapter_dir)
    summary.pop("base_sha256", None)
    files = model_files(merged.config, weights_of(merged), tokenizer, summary, is_chat)
    with new_directory(output_dir) as aside:
        for name, write in files.items():
            write(aside / name)
        proof = prove(aside, apart, tokenizer, is_chat, torch.float32)
        report = {"merged_from": [base.resolve().name, adapter.name]}
        json_writer({**report, "proof": dataclasses.asdict(proof)})(aside / REPORT)
    return output_dir, proof
