"""From an Etude model directory to one GGUF file, for llama.cpp and what is built on it.

In a Llama, llama.cpp turns neighbouring channels of a head by the rotary angles, where transformers
turns halves: so the rows of q_proj and k_proj are put in another order.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import gguf
from torch import Tensor

from config import ModelConfig, RopeScaling, UserError
from inference.engine.rounding import ROUTER, WHOLE
from model.attention import rotary_frequencies
from model.directory.pretrained import is_chat_model, load_pretrained, weights_of
from model.directory.storage import replace_file, text_writer
from model.directory.tensors import EXPERTS
from model.families import family_of
from model.tokenizer import EtudeTokenizer, tokenizer_json
from model.transformer import Etude
from tool.settings import ConvertGgufConfig
from train.tokenizer.bpe import QWEN2_PATTERN

PRE_TOKENIZERS = {
    (QWEN2_PATTERN,): "qwen2",
    (QWEN2_PATTERN.replace(r"\p{N}|", r"\p{N}{1,3}|"),): "llama-bpe",
    ("Digits", "ByteLevel"): "smollm",
    ("ByteLevel",): "gpt-2",
}
"""llama.cpp's names for the ways to split text, keyed by the steps of tokenizer.json: the pattern
of a Split, digits one by one, GPT-2's pattern in ByteLevel."""

OLLAMA_TEMPLATE = (
    "{{- range .Messages }}<|im_start|>{{ .Role }}\n{{ .Content }}<|im_end|>\n{{ end }}"
    "<|im_start|>assistant\n"
)
"""ChatML in the Go templates of ollama; the same as the one in Jinja."""


def convert_gguf(config: ConvertGgufConfig) -> tuple[Path, list[str]]:
    """Writes the file.

    Returns:
        The file, and the matrices in it that stayed in f16, as of `write_gguf`.

    Raises:
        UserError: there is no model, or the file must not be replaced.
    """
    output = config.output or gguf_path(config.model_dir, config.dtype)
    if output.is_dir():
        raise UserError(f"--output {output} is a directory; name a file that ends with .gguf")
    if output.exists() and not config.overwrite:
        raise UserError(f"--output {output} exists; name another file, or use --overwrite")
    model, tokenizer = load_pretrained(config.model_dir)
    is_chat = is_chat_model(config.model_dir)
    kept: list[str] = []

    def write(path: Path) -> None:
        name = config.model_dir.resolve().name
        kept[:] = write_gguf(path, model, tokenizer, is_chat, config.dtype, name)

    replace_file(output, write)
    return output, kept


def gguf_path(model_dir: Path, dtype: str) -> Path:
    """Where the file goes when nothing is said: beside the model's directory."""
    ending = "" if dtype == "f32" else f"_{dtype}"
    return model_dir.resolve().with_name(f"{model_dir.resolve().name}{ending}.gguf")


def write_gguf(
    path: Path, model: Etude, tokenizer: EtudeTokenizer, is_chat: bool, dtype: str, name: str
) -> list[str]:
    """Writes a model as GGUF.

    Args:
        path: the file.
        model: the network.
        tokenizer: its tokenizer.
        is_chat: whether it ends its turns with <|im_end|>.
        dtype: f32, f16, bf16, q8_0 or q4_0; norms are always f32, embedding and output layer at
            least q8_0: so the weights are those of --quantize int8 and int4.
        name: the model's name.

    Returns:
        The matrices whose rows do not divide into blocks of the type, written in f16.
    """
    kind = gguf.GGMLQuantizationType[dtype.upper()]
    file_type = gguf.LlamaFileType[f"{'ALL' if dtype == 'f32' else 'MOSTLY'}_{dtype.upper()}"]
    config = model.config
    refuse_unknown_to_llama_cpp(config)
    architecture = family_of(config).gguf
    writer = gguf.GGUFWriter(path, architecture)
    writer.add_name(name)
    writer.add_file_type(file_type)
    add_shape(writer, config)
    add_tokenizer(writer, tokenizer, is_chat)
    kinds = {name: key for key, name in gguf.MODEL_ARCH_NAMES.items()}
    names = gguf.get_tensor_name_map(kinds[architecture], config.num_hidden_layers)
    kept = []
    for theirs, tensor in weights_of(model).items():
        whole = f"{theirs}.weight" if EXPERTS.fullmatch(theirs) else theirs
        ours = names.get_name(whole, try_suffixes=(".weight", ".bias"))
        assert ours, theirs
        weight = tensor.detach().float().cpu()
        turns = architecture in TURNS_NEIGHBOURS
        array = (reordered(theirs, weight, config) if turns else weight).numpy()
        exact = array.ndim == 1 or theirs.endswith(ROUTER)
        as_type = gguf.GGMLQuantizationType.F32 if exact else kind
        if dtype == "q4_0" and theirs in WHOLE:
            as_type = gguf.GGMLQuantizationType.Q8_0
        block, _ = gguf.GGML_QUANT_SIZES[as_type]
        if array.shape[-1] % block:
            as_type = gguf.GGMLQuantizationType.F16
            kept.append(theirs)
        data = gguf.quants.quantize(array, as_type)
        writer.add_tensor(ours, data, raw_dtype=as_type)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return kept


TURNS_NEIGHBOURS = ("llama", "smollm3")
"""Where llama.cpp's rotary positions turn neighbouring channels (its LLAMA_ROPE_TYPE_NORM)."""


def refuse_unknown_to_llama_cpp(config: ModelConfig) -> None:
    """Raises UserError when llama.cpp has constants in the place of what the network is made of."""
    layers = range(config.num_hidden_layers)
    said, yarn = "", config.rope_scaling
    usual = (RopeScaling.beta_fast, RopeScaling.beta_slow)
    if yarn.rope_type == "yarn" and (yarn.beta_fast, yarn.beta_slow) != usual:
        said = "beta_fast is 32 and beta_slow 1"
    elif config.no_rope_layer_interval not in (0, 4):
        said = "no_rope_layer_interval is 4"
    elif config.num_experts and not config.norm_topk_prob:
        said = "norm_topk_prob is true"
    elif config.num_experts and not all(map(config.has_experts, layers)):
        said = "every block has experts"
    if said:
        raise UserError(
            f"llama.cpp takes it that {said}, which is not so here: no file was written"
        )


def context_of(config: ModelConfig) -> int:
    """The longest context in llama.cpp, which has no sliding window for this network: up to its
    width the two are the same."""
    context = config.max_position_embeddings
    return min(context, config.sliding_window or context)


def add_shape(writer: Any, config: ModelConfig) -> None:
    """Writes what config.json says."""
    writer.add_context_length(context_of(config))
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_freq_base(config.rope_theta)
    writer.add_rope_dimension_count(config.head_size)
    add_rope_scaling(writer, config)
    writer.add_vocab_size(config.vocab_size)
    if config.head_dim:
        writer.add_key_length(config.head_size)
        writer.add_value_length(config.head_size)
    if config.num_experts:
        writer.add_expert_count(config.num_experts)
        writer.add_expert_used_count(config.num_experts_per_tok)
        writer.add_expert_feed_forward_length(config.expert_size)


def add_rope_scaling(writer: Any, config: ModelConfig) -> None:
    """Writes how positions are scaled for longer contexts; llama3's as a divisor a channel."""
    scaling = config.rope_scaling
    if scaling.rope_type == "llama3":
        plain, _ = rotary_frequencies(dataclasses.replace(config, rope_scaling=RopeScaling()))
        scaled, _ = rotary_frequencies(config)
        writer.add_tensor("rope_freqs.weight", (plain / scaled).numpy())
    elif scaling.rope_type != "default":
        kinds = {"linear": gguf.RopeScalingType.LINEAR, "yarn": gguf.RopeScalingType.YARN}
        writer.add_rope_scaling_type(kinds[scaling.rope_type])
        writer.add_rope_scaling_factor(scaling.factor)
    if scaling.rope_type == "yarn":
        writer.add_rope_scaling_orig_ctx_len(scaling.original_max_position_embeddings)


def pre_tokenizer_of(contents: Mapping[str, Any]) -> str:
    """llama.cpp's name for how a tokenizer.json splits text.

    Raises:
        UserError: it is of a kind that has no name here.
    """
    whole = contents["pre_tokenizer"] or {}
    steps = []
    for step in whole.get("pretokenizers", [whole]):
        kind = step.get("type")
        if kind == "Split":
            isolated = step["behavior"] == "Isolated" and not step["invert"]
            steps.append(step["pattern"].get("Regex") if isolated else "Split")
        elif kind == "Digits":
            steps.append(kind if step["individual_digits"] else "Digits, grouped")
        elif kind != "ByteLevel" or step["add_prefix_space"]:
            steps.append(f"{kind}, with a space before" if kind == "ByteLevel" else kind)
        elif step["use_regex"]:
            steps.append(kind)
    name = PRE_TOKENIZERS.get(tuple(steps))
    if name is None or contents["model"]["type"] != "BPE" or contents["normalizer"]:
        raise UserError(
            f"the tokenizer splits text by {' and '.join(map(str, steps)) or 'nothing'} (a "
            f"{contents['model']['type']} model), for which there is no way to GGUF here; there is "
            f"one for byte-level BPE of the kinds {', '.join(PRE_TOKENIZERS.values())}"
        )
    return name


def token_kinds(contents: Mapping[str, Any], count: int) -> list[gguf.TokenType]:
    """Of every token whether it is ordinary, a control token, or always cut out of a text."""
    kinds = [gguf.TokenType.NORMAL] * count
    for added in contents["added_tokens"]:
        special = added["special"]
        kinds[added["id"]] = gguf.TokenType.CONTROL if special else gguf.TokenType.USER_DEFINED
    return kinds


def add_tokenizer(writer: Any, tokenizer: EtudeTokenizer, is_chat: bool) -> None:
    """Writes tokens, merges, the way to split text, the ends, and the chat template."""
    contents = json.loads(tokenizer_json(tokenizer))
    merges = contents["model"]["merges"]
    tokens = [tokenizer.backend.id_to_token(number) for number in range(len(tokenizer))]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(pre_tokenizer_of(contents))
    writer.add_token_list(tokens)
    writer.add_token_types(token_kinds(contents, len(tokens)))
    writer.add_token_merges([m if isinstance(m, str) else " ".join(m) for m in merges])
    end = tokenizer.end_ids(is_chat)[0]
    writer.add_bos_token_id(tokenizer.backend.token_to_id(tokenizer.bos_of(is_chat)))
    writer.add_eos_token_id(end)
    writer.add_eot_token_id(end)
    writer.add_pad_token_id(tokenizer.end_of_text_id)
    writer.add_add_bos_token(not is_chat)
    if is_chat:
        writer.add_chat_template(tokenizer.chat_format.template)


def reordered(name: str, weight: Tensor, config: ModelConfig) -> Tensor:
    """A weight in llama.cpp's order: of q_proj and k_proj, the two halves of a head alternate."""
    heads = {"q_proj": config.num_attention_heads, "k_proj": config.num_key_value_heads}
    for part, count in heads.items():
        if name.endswith(f"{part}.weight"):
            halves = weight.view(count, 2, config.head_size // 2, -1)
            return halves.transpose(1, 2).reshape(weight.shape)
    return weight


def write_modelfile(config: ConvertGgufConfig, path: Path) -> Path:
    """Writes what `ollama create` needs beside the GGUF file; the path of it."""
    is_chat = is_chat_model(config.model_dir)
    tokenizer = EtudeTokenizer.load(config.model_dir)
    end = tokenizer.backend.id_to_token(tokenizer.end_ids(is_chat)[0])
    lines = [f"FROM ./{path.name}", f'PARAMETER stop "{end}"']
    if is_chat and tokenizer.chat_format.is_etudes:  # ollama reads another one from the GGUF file
        lines.append(f'TEMPLATE """{OLLAMA_TEMPLATE}"""')
    modelfile = path.with_name(f"{path.stem}.Modelfile")
    replace_file(modelfile, text_writer("\n".join(lines) + "\n"))
    return modelfile
