"""Chat templates in the form of those that other models have, written for these tests, with the
control tokens that they need."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers

TEXTS = [
    "system user assistant model\nYou are a helpful assistant. Hello, what is it? I don't know!",
    "从前，有一只小狐狸住在河边。她说：“你好，世界！” 3 + 8 = 11.\n\n[INST] [/INST]",
]


@dataclass(frozen=True)
class Kind:
    """A template and its tokens."""

    template: str
    special: tuple[str, ...]
    bos: str
    eos: str
    end: str
    """Ends an answer."""
    plain: tuple[str, ...] = ()
    """Added tokens that are not special."""
    rstrip: bool = False
    """The special tokens take in the white space behind them."""
    trims: bool = False
    """Contents are trimmed."""


CHATML_TOKENS = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")


def chatml(default: str) -> str:
    """ChatML with a system turn where the conversation has none."""
    return (
        "{% for message in messages %}"
        "{% if loop.first and messages[0]['role'] != 'system' %}"
        "{{ '<|im_start|>system\n" + default + "<|im_end|>\n' }}{% endif %}"
        "{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}"
        "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
    )


LLAMA3 = """{{- bos_token }}
{%- if messages[0]['role'] == 'system' %}
    {%- set system_message = messages[0]['content']|trim %}
    {%- set messages = messages[1:] %}
{%- else %}
    {%- set system_message = "" %}
{%- endif %}
{{- "<|start_header_id|>system<|end_header_id|>\\n\\nCutting Knowledge Date: December 2023\\n" }}
{{- "Today Date: " + strftime_now("%d %b %Y") + "\\n\\n" + system_message + "<|eot_id|>" }}
{%- for message in messages %}
    {{- '<|start_header_id|>' + message['role'] + '<|end_header_id|>\\n\\n' }}
    {{- message['content'] | trim + '<|eot_id|>' }}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}
{%- endif %}
"""
MISTRAL = (
    "{{ bos_token }}{% if messages[0]['role'] == 'system' %}"
    "{% set system = messages[0]['content'] + '\n\n' %}{% set messages = messages[1:] %}"
    "{% else %}{% set system = '' %}{% endif %}"
    "{% for message in messages %}"
    "{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('Conversation roles must alternate user/assistant/user/...') }}{% endif %}"
    "{% if message['role'] == 'user' %}"
    "{{ '[INST] ' + (system if loop.first else '') + message['content'] + ' [/INST]' }}"
    "{% else %}{{ ' ' + message['content'] + eos_token }}{% endif %}{% endfor %}"
)
GEMMA = (
    "{{ bos_token }}{% if messages[0]['role'] == 'system' %}"
    "{{ raise_exception('System role not supported') }}{% endif %}{% for message in messages %}"
    "{% if message['role'] == 'assistant' %}{% set role = 'model' %}"
    "{% else %}{% set role = message['role'] %}{% endif %}"
    "{{ '<start_of_turn>' + role + '\n' + message['content'] | trim + '<end_of_turn>\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{'<start_of_turn>model\n'}}{% endif %}"
)
QWEN3 = """{%- for message in messages %}
{%- set content = message.content if message.content is string else '' %}
{%- if message.role == "assistant" %}
    {%- set thoughts = '' %}
    {%- if '</think>' in content %}
        {%- set thoughts = content.split('</think>')[0].rstrip('\\n').split('<think>')[-1] %}
        {%- set content = content.split('</think>')[-1].lstrip('\\n') %}
    {%- endif %}
    {%- if loop.last %}
        {{- '<|im_start|>assistant\\n<think>\\n' + thoughts + '\\n</think>\\n\\n' + content }}
    {%- else %}
        {{- '<|im_start|>assistant\\n' + content }}
    {%- endif %}
    {{- '<|im_end|>\\n' }}
{%- else %}
    {{- '<|im_start|>' + message.role + '\\n' + content + '<|im_end|>' + '\\n' }}
{%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\\n' }}
    {%- if enable_thinking is defined and enable_thinking is false %}
        {{- '<think>\\n\\n</think>\\n\\n' }}
    {%- endif %}
{%- endif %}"""
PHI3 = (
    "{% for message in messages %}{% generation %}"
    "{{ '<|' + message['role'] + '|>\n' + message['content'] + '<|end|>\n' }}"
    "{% endgeneration %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>\n' }}{% endif %}"
)
HEADERS = ("<|begin_of_text|>", "<|end_of_text|>", "<|start_header_id|>", "<|end_header_id|>")
PHI_TOKENS = ("<|endoftext|>", "<|system|>", "<|user|>", "<|assistant|>", "<|end|>")
KINDS = {
    "smollm2": Kind(
        chatml("You are a helpful AI assistant named Somebody"),
        (*CHATML_TOKENS, "<repo_name>"),
        *("<|im_start|>", "<|im_end|>", "<|im_end|>"),
    ),
    "qwen2.5": Kind(
        chatml("You are Someone, created by Somebody."),
        CHATML_TOKENS,
        *("<|endoftext|>", "<|im_end|>", "<|im_end|>"),
        plain=("<tool_call>", "</tool_call>"),
    ),
    "qwen3": Kind(
        QWEN3,
        CHATML_TOKENS,
        *("<|endoftext|>", "<|im_end|>", "<|im_end|>"),
        plain=("<think>", "</think>", "<tool_call>", "</tool_call>"),
    ),
    "llama3": Kind(
        LLAMA3,
        (*HEADERS, "<|eot_id|>"),
        *("<|begin_of_text|>", "<|eot_id|>", "<|eot_id|>"),
        trims=True,
    ),
    "mistral": Kind(MISTRAL, ("<s>", "</s>", "[INST]", "[/INST]"), "<s>", "</s>", "</s>"),
    "gemma": Kind(
        GEMMA,
        ("<bos>", "<eos>", "<start_of_turn>", "<end_of_turn>"),
        *("<bos>", "<eos>", "<end_of_turn>"),
        trims=True,
    ),
    "phi3": Kind(PHI3, PHI_TOKENS, "<|endoftext|>", "<|endoftext|>", "<|end|>", rstrip=True),
}


def backend_of(kind: Kind) -> Tokenizer:
    """A byte-level tokenizer with the tokens of a kind; it splits as GPT-2 does."""
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
    )
    backend.train_from_iterator(TEXTS * 3, trainer)
    backend.add_special_tokens([AddedToken(t, rstrip=kind.rstrip) for t in kind.special])
    backend.add_tokens([AddedToken(token, normalized=False) for token in kind.plain])
    return backend


def save_tokenizer(directory: Path, kind: Kind) -> Path:
    """A directory with the tokenizer of a kind, as its model's house would publish it."""
    directory.mkdir(parents=True, exist_ok=True)
    backend_of(kind).save(str(directory / "tokenizer.json"))
    fields = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": kind.bos,
        "eos_token": kind.eos,
        "chat_template": kind.template,
    }
    (directory / "tokenizer_config.json").write_text(json.dumps(fields), encoding="utf-8")
    return directory
