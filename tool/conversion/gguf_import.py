"""From a GGUF file to an Etude model directory: weights dequantised by the gguf package, shape and
tokenizer from the metadata, and the proof by llama.cpp.

llama.cpp keeps the rows of a Llama's q_proj and k_proj in an order of its own, see `gguf_export`:
they are put back.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import torch
from torch import Tensor

from config import WEIGHT, ModelConfig, RopeScaling, UserError
from model.attention import rotary_frequencies
from model.directory.config_json import shape_of
from model.directory.pretrained import empty_model, weights_of
from model.families import FAMILIES
from tool.conversion.gguf_export import TURNS_NEIGHBOURS
from tool.conversion.gguf_tokenizer import read_chat_format, read_tokenizer
from tool.conversion.import_proof import prove_gguf_import
from tool.conversion.importing import Arrival, Imported, bring_in, fitted, refuse_to_replace
from tool.settings import ConvertGgufConfig

ARCHITECTURES = {family.gguf: name for name, family in reversed(FAMILIES.items())}
"""transformers' model_type for llama.cpp's name of a network (llama: a Mistral's window is not in
the file, and not in llama.cpp)."""
ROPE_FACTORS = "rope_freqs.weight"
"""By how much Llama 3's scaling divides the angle of each channel, in place of its settings."""
IGNORED = (ROPE_FACTORS,)
"""Tensors that are no weights."""


def import_gguf(path: Path, config: ConvertGgufConfig) -> Imported:
    """Writes an Etude model directory of a GGUF file.

    Args:
        path: the file.
        config: where to write, in which number format, and whether something may be replaced.

    Raises:
        UserError: it is no GGUF file, or of a model that Etude's network is not.
        ProofFailed: llama.cpp disagrees; nothing is written.
    """
    output_dir = config.output or WEIGHT / path.stem
    refuse_to_replace(output_dir, path, config.overwrite)
    reader = open_gguf(path)
    fields = {name: field.contents() for name, field in reader.fields.items()}
    backend = read_tokenizer(path, fields)
    tokenizer, added = fitted(backend, read_chat_format(fields))
    shape = read_shape(path, fields, {tensor.name: tensor for tensor in reader.tensors})
    weights = read_weights(path, reader, shape, fields["general.architecture"])
    arrival = Arrival(path, shape, weights, tokenizer, added)
    exact = config.weights == "float32" and all(
        tensor.tensor_type == gguf.GGMLQuantizationType.F32 for tensor in reader.tensors
    )
    dtype: torch.dtype = getattr(torch, config.weights)
    return bring_in(arrival, output_dir, dtype, lambda made: prove_gguf_import(path, made, exact))


def open_gguf(path: Path) -> gguf.GGUFReader:
    """A GGUF file; UserError when it is none."""
    if not path.is_file():
        raise UserError(f"--from_gguf {path}: there is no such file")
    try:
        return gguf.GGUFReader(path)
    except Exception as error:  # the gguf package raises whatever it stumbles over
        raise UserError(f"{path}: not a readable GGUF file ({error}): download it again") from error


def read_shape(path: Path, fields: Mapping[str, Any], tensors: Mapping[str, Any]) -> ModelConfig:
    """The shape of a model, by the metadata of its file.

    Args:
        path: the file, for messages.
        fields: the metadata.
        tensors: the tensors by name.

    Raises:
        UserError: a feature is not Etude's.
    """
    architecture = str(fields.get("general.architecture"))
    if architecture not in ARCHITECTURES:
        raise UserError(
            f"{path}: a model of the architecture {architecture!r}, which Etude does not have (it "
            f"has {', '.join(ARCHITECTURES)}): such a model cannot be used"
        )

    def get(key: str) -> Any:
        value = fields.get(key.format(arch=architecture))
        # 9.999999747378752e-06 in float32 is what 1e-5 was
        return float(str(np.float32(value))) if isinstance(value, float) else value

    llm, attention, rope = gguf.Keys.LLM, gguf.Keys.Attention, gguf.Keys.Rope
    found = {
        "model_type": ARCHITECTURES[architecture],
        "vocab_size": len(fields[gguf.Keys.Tokenizer.LIST]),
        "hidden_size": get(llm.EMBEDDING_LENGTH),
        "intermediate_size": get(llm.FEED_FORWARD_LENGTH),
        "num_hidden_layers": get(llm.BLOCK_COUNT),
        "num_attention_heads": get(attention.HEAD_COUNT),
        "num_key_value_heads": get(attention.HEAD_COUNT_KV),
        "head_dim": get(attention.KEY_LENGTH) or get(rope.DIMENSION_COUNT),
        "max_position_embeddings": get(llm.CONTEXT_LENGTH),
        "rms_norm_eps": get(attention.LAYERNORM_RMS_EPS),
        "rope_theta": get(rope.FREQ_BASE) or 10_000.0,
        "rope_scaling": scaling_fields(path, get),
        "num_experts": get(llm.EXPERT_COUNT),
        "num_experts_per_tok": get(llm.EXPERT_USED_COUNT),
        "moe_intermediate_size": get(llm.EXPERT_FEED_FORWARD_LENGTH),
        "norm_topk_prob": True,  # as llama.cpp has it
        "tie_word_embeddings": "output.weight" not in tensors,
    }
    if get(attention.LAYERNORM_RMS_EPS) is None:  # in a config.json it may be missing
        raise UserError(f"{path}: attention.layer_norm_rms_epsilon is missing")
    shape = shape_of(path, {name: value for name, value in found.items() if value is not None})
    if ROPE_FACTORS in tensors:
        factors = dequantised(path, tensors[ROPE_FACTORS])
        scaling = llama3_scaling(path, shape, factors)
        shape = dataclasses.replace(shape, rope_scaling=scaling)
    return shape


def scaling_fields(path: Path, get: Any) -> dict[str, Any] | None:
    """The rope_scaling that the metadata say; raises as `read_shape`."""
    rope = gguf.Keys.Rope
    kind = get(rope.SCALING_TYPE) or "none"
    if kind == "none":
        return None
    scaling = {
        "rope_type": kind,
        "factor": get(rope.SCALING_FACTOR),
        "original_max_position_embeddings": get(rope.SCALING_ORIG_CTX_LEN),
        "beta_fast": get(rope.SCALING_YARN_BETA_FAST),
        "beta_slow": get(rope.SCALING_YARN_BETA_SLOW),
    }
    for name in (rope.SCALING_ATTN_FACTOR, rope.SCALING_YARN_ATTN_FACTOR):
        if get(name) not in (None, 1.0):
            raise UserError(
                f"{path}: {name.format(arch='')[1:]} is {get(name)}, which Etude does not have: "
                "such a model cannot be used"
            )
    return {name: value for name, value in scaling.items() if value is not None}


def llama3_scaling(path: Path, shape: ModelConfig, factors: Tensor) -> RopeScaling:
    """The settings of Llama 3's scaling that give these divisors (head_dim / 2,); the file has only
    them. UserError when none do."""
    plain, _ = rotary_frequencies(shape)
    for power in range(5, 21):
        found = RopeScaling("llama3", round(factors.max().item(), 4), 2**power)
        scaled, _ = rotary_frequencies(dataclasses.replace(shape, rope_scaling=found))
        if torch.allclose(plain / scaled, factors, rtol=1e-4):
            return found
    raise UserError(
        f"{path}: {ROPE_FACTORS} scales the channels in a way that is not that of Llama 3: such a "
        "model cannot be used"
    )


def read_weights(
    path: Path, reader: gguf.GGUFReader, shape: ModelConfig, architecture: str
) -> Iterator[tuple[str, Tensor]]:
    """The weights in float32 by the names of its stock class, one after the other.

    Raises:
        UserError: one is missing, or there is one that the network does not have.
    """
    kind = next(k for k, name in gguf.MODEL_ARCH_NAMES.items() if name == architecture)
    names = gguf.get_tensor_name_map(kind, shape.num_hidden_layers)
    ours = {}
    for name in weights_of(empty_model(shape)):
        theirs = names.get_name(name, try_suffixes=(".weight", ".bias"))
        whole = "" if name.endswith((".weight", ".bias")) else ".weight"  # of all experts at once
        ours[f"{theirs}{whole}"] = name
    tensors = {tensor.name: tensor for tensor in reader.tensors if tensor.name not in IGNORED}
    for name in (*ours, *tensors):
        if name not in tensors or name not in ours:
            what = "is missing" if name not in tensors else "is not part of Etude's network"
            raise UserError(f"{path}: the tensor {name} {what}: such a model cannot be used")
    for name, tensor in tensors.items():
        weight = dequantised(path, tensor)
        reordered = architecture in TURNS_NEIGHBOURS
        yield ours[name], restored(ours[name], weight, shape) if reordered else weight


def dequantised(path: Path, tensor: gguf.ReaderTensor) -> Tensor:
    """A tensor of a file in float32; it is read, not mapped, so that memory holds one at a time.

    Raises:
        UserError: it is of a type that the gguf package cannot dequantise.
    """
    raw = np.fromfile(path, np.uint8, tensor.n_bytes, offset=tensor.data_offset)
    stored = raw.view(tensor.data.dtype).reshape(tensor.data.shape)
    try:
        return torch.from_numpy(gguf.quants.dequantize(stored, tensor.tensor_type))
    except NotImplementedError as error:
        raise UserError(
            f"{path}: {tensor.name} is of the type {tensor.tensor_type.name}, which the gguf "
            "package does not dequantise: take a file of another quantisation"
        ) from error


def restored(name: str, weight: Tensor, config: ModelConfig) -> Tensor:
    """A weight in transformers' order: of q_proj and k_proj, the halves of a head follow one
    another."""
    heads = {"q_proj": config.num_attention_heads, "k_proj": config.num_key_value_heads}
    for part, count in heads.items():
        if name.endswith(f"{part}.weight"):
            pairs = weight.view(count, config.head_size // 2, 2, -1)
            return pairs.transpose(1, 2).reshape(weight.shape)
    return weight
