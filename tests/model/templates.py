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
{%- set tools = tools if tools is not none else [] %}
{%- if messages[0]['role'] == 'system' %}
    {%- set system = messages[0]['content']|trim %}
    {%- set messages = messages[1:] %}
{%- else %}
    {%- set system = "" %}
{%- endif %}
{{- "<|start_header_id|>system<|end_header_id|>\\n\\n" }}
{%- if tools %}{{- "Environment: ipython\\n" }}{%- endif %}
{{- "Cutting Knowledge Date: December 2023\\n" }}
{{- "Today Date: " + strftime_now("%d %b %Y") + "\\n\\n" + system + "<|eot_id|>" }}
{%- if tools %}
    {%- set first = messages[0]['content']|trim %}
    {%- set messages = messages[1:] %}
    {{- '<|start_header_id|>user<|end_header_id|>\\n\\nThese functions may be called:\\n\\n' }}
    {%- for t in tools %}{{- t | tojson(indent=4) }}{{- "\\n\\n" }}{%- endfor %}
    {{- first + "<|eot_id|>" }}
{%- endif %}
{%- for message in messages %}
    {%- if not (message.role == 'ipython' or message.role == 'tool' or 'tool_calls' in message) %}
        {{- '<|start_header_id|>' + message['role'] + '<|end_header_id|>\\n\\n' }}
        {{- message['content'] | trim + '<|eot_id|>' }}
    {%- elif 'tool_calls' in message %}
        {%- if message.tool_calls|length != 1 %}
            {{- raise_exception("This model calls one tool at a time!") }}
        {%- endif %}
        {%- set call = message.tool_calls[0].function %}
        {{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}
        {{- '{"name": "' + call.name + '", ' }}
        {{- '"parameters": ' }}{{- call.arguments | tojson }}{{- "}" }}{{- "<|eot_id|>" }}
    {%- else %}
        {{- "<|start_header_id|>ipython<|end_header_id|>\\n\\n" }}
        {%- if message.content is mapping or message.content is iterable %}
            {{- message.content | tojson }}
        {%- else %}{{- message.content }}{%- endif %}
        {{- "<|eot_id|>" }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}
{%- endif %}
"""
MISTRAL = """{%- if messages[0]['role'] == 'system' %}
    {%- set system = messages[0]['content'] %}{%- set rest = messages[1:] %}
{%- else %}{%- set system = '' %}{%- set rest = messages %}{%- endif %}
{%- set asked = rest | selectattr('role', 'equalto', 'user') | list %}
{{- bos_token }}
{%- for message in rest %}
    {%- if message['role'] == 'user' %}
        {%- if tools and message == asked[-1] %}
            {{- '[AVAILABLE_TOOLS] [' }}
            {%- for tool in tools %}{{- tool | tojson }}{{- ', ' if not loop.last }}{%- endfor %}
            {{- '][/AVAILABLE_TOOLS]' }}
        {%- endif %}
        {{- '[INST] ' + (system + '\\n\\n' if loop.first and system else '') }}
        {{- message['content'] + '[/INST]' }}
    {%- elif message.tool_calls is defined and message.tool_calls is not none %}
        {{- '[TOOL_CALLS] [' }}
        {%- for call in message.tool_calls %}
            {%- if call.id is not defined or call.id | length != 9 %}
                {{- raise_exception("Tool call IDs should be strings of length 9!") }}
            {%- endif %}
            {{- '{"name": "' + call.function.name + '", "arguments": ' }}
            {{- call.function.arguments | tojson }}{{- ', "id": "' + call.id + '"}' }}
            {{- ', ' if not loop.last else ']' + eos_token }}
        {%- endfor %}
    {%- elif message['role'] == 'assistant' %}
        {{- ' ' + message['content'] + eos_token }}
    {%- elif message['role'] == 'tool' %}
        {{- '[TOOL_RESULTS] {"content": ' + message.content | string }}
        {{- ', "call_id": "' + message.tool_call_id + '"}[/TOOL_RESULTS]' }}
    {%- else %}{{- raise_exception("Only system, user, assistant and tool!") }}{%- endif %}
{%- endfor %}"""
GEMMA = (
    "{{ bos_token }}{% if messages[0]['role'] == 'system' %}"
    "{{ raise_exception('System role not supported') }}{% endif %}{% for message in messages %}"
    "{% if message['role'] == 'assistant' %}{% set role = 'model' %}"
    "{% else %}{% set role = message['role'] %}{% endif %}"
    "{{ '<start_of_turn>' + role + '\n' + message['content'] | trim + '<end_of_turn>\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{'<start_of_turn>model\n'}}{% endif %}"
)
TOOLS_HEAD = "# Tools\\n\\nYou may call functions. They are described in <tools></tools>:\\n<tools>"
TOOLS_FOOT = (
    "\\n</tools>\\n\\nCall one by a JSON object in <tool_call></tool_call>:\\n<tool_call>\\n"
    '{"name": <function-name>, "arguments": <args-json-object>}\\n</tool_call>'
)
"""Of Qwen's templates; backslashes are Jinja's."""
CALLS = """{%- for call in message.tool_calls %}
            {%- if (loop.first and content) or not loop.first %}{{- '\\n' }}{%- endif %}
            {%- if call.function %}{%- set call = call.function %}{%- endif %}
            {{- '<tool_call>\\n{"name": "' + call.name + '", "arguments": ' }}
            {%- if call.arguments is string %}{{- call.arguments }}
            {%- else %}{{- call.arguments | tojson }}{%- endif %}
            {{- '}\\n</tool_call>' }}
        {%- endfor %}"""
RESULTS = """{%- elif message.role == "tool" %}
        {%- if loop.first or (messages[loop.index0 - 1].role != "tool") %}
            {{- '<|im_start|>user' }}
        {%- endif %}
        {{- '\\n<tool_response>\\n' + message.content + '\\n</tool_response>' }}
        {%- if loop.last or (messages[loop.index0 + 1].role != "tool") %}
            {{- '<|im_end|>\\n' }}
        {%- endif %}"""
QWEN25 = f"""{{%- if tools %}}
    {{{{- '<|im_start|>system\\n' }}}}
    {{%- if messages[0].role == 'system' %}}{{{{- messages[0].content }}}}
    {{%- else %}}{{{{- 'You are Someone, created by Somebody.' }}}}{{%- endif %}}
    {{{{- "\\n\\n{TOOLS_HEAD}" }}}}
    {{%- for tool in tools %}}{{{{- "\\n" }}}}{{{{- tool | tojson }}}}{{%- endfor %}}
    {{{{- '{TOOLS_FOOT}' + "<|im_end|>\\n" }}}}
{{%- elif messages[0].role != 'system' %}}
    {{{{- '<|im_start|>system\\nYou are Someone, created by Somebody.<|im_end|>\\n' }}}}
{{%- endif %}}
{{%- for message in messages %}}
    {{%- set content = message.content %}}
    {{%- if message.role == "user" or (message.role == "system" and not (loop.first and tools)) or
            (message.role == "assistant" and not message.tool_calls) %}}
        {{{{- '<|im_start|>' + message.role + '\\n' + content + '<|im_end|>\\n' }}}}
    {{%- elif message.role == "assistant" %}}
        {{{{- '<|im_start|>assistant' }}}}
        {{%- if content %}}{{{{- '\\n' + content }}}}{{%- endif %}}
        {CALLS.replace("(loop.first and content) or not loop.first", "true")}
        {{{{- '<|im_end|>\\n' }}}}
    {RESULTS}
    {{%- endif %}}
{{%- endfor %}}
{{%- if add_generation_prompt %}}{{{{- '<|im_start|>assistant\\n' }}}}{{%- endif %}}
"""
QWEN3 = f"""{{%- if tools %}}
    {{{{- '<|im_start|>system\\n' }}}}
    {{%- if messages[0].role == 'system' %}}{{{{- messages[0].content + '\\n\\n' }}}}{{%- endif %}}
    {{{{- "{TOOLS_HEAD}" }}}}
    {{%- for tool in tools %}}{{{{- "\\n" }}}}{{{{- tool | tojson }}}}{{%- endfor %}}
    {{{{- '{TOOLS_FOOT}' + "<|im_end|>\\n" }}}}
{{%- elif messages[0].role == 'system' %}}
    {{{{- '<|im_start|>system\\n' + messages[0].content + '<|im_end|>\\n' }}}}
{{%- endif %}}
{{%- set ns = namespace(multi_step_tool=true, last_query_index=messages|length - 1) %}}
{{%- for message in messages[::-1] %}}
    {{%- set index = (messages|length - 1) - loop.index0 %}}
    {{%- if ns.multi_step_tool and message.role == "user" and message.content is string and
            not(message.content.startswith('<tool_response>') and
                message.content.endswith('</tool_response>')) %}}
        {{%- set ns.multi_step_tool = false %}}
        {{%- set ns.last_query_index = index %}}
    {{%- endif %}}
{{%- endfor %}}
{{%- for message in messages %}}
    {{%- set content = message.content if message.content is string else '' %}}
    {{%- if message.role == "user" or (message.role == "system" and not loop.first) %}}
        {{{{- '<|im_start|>' + message.role + '\\n' + content + '<|im_end|>\\n' }}}}
    {{%- elif message.role == "assistant" %}}
        {{%- set thoughts = '' %}}
        {{%- if message.reasoning_content is string %}}
            {{%- set thoughts = message.reasoning_content %}}
        {{%- elif '</think>' in content %}}
            {{%- set thoughts = content.split('</think>')[0].rstrip('\\n') %}}
            {{%- set thoughts = thoughts.split('<think>')[-1].lstrip('\\n') %}}
            {{%- set content = content.split('</think>')[-1].lstrip('\\n') %}}
        {{%- endif %}}
        {{{{- '<|im_start|>assistant\\n' }}}}
        {{%- if loop.index0 > ns.last_query_index and (loop.last or thoughts) %}}
            {{{{- '<think>\\n' + thoughts.strip('\\n') + '\\n</think>\\n\\n' }}}}
            {{{{- content.lstrip('\\n') }}}}
        {{%- else %}}{{{{- content }}}}{{%- endif %}}
        {{%- if message.tool_calls %}}{CALLS}{{%- endif %}}
        {{{{- '<|im_end|>\\n' }}}}
    {RESULTS}
    {{%- endif %}}
{{%- endfor %}}
{{%- if add_generation_prompt %}}
    {{{{- '<|im_start|>assistant\\n' }}}}
    {{%- if enable_thinking is defined and enable_thinking is false %}}
        {{{{- '<think>\\n\\n</think>\\n\\n' }}}}
    {{%- endif %}}
{{%- endif %}}"""
PHI3 = (
    "{% for message in messages %}{% generation %}"
    "{{ '<|' + message['role'] + '|>\n' + message['content'] + '<|end|>\n' }}"
    "{% endgeneration %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>\n' }}{% endif %}"
)
HEADERS = ("<|begin_of_text|>", "<|end_of_text|>", "<|start_header_id|>", "<|end_header_id|>")
PHI_TOKENS = ("<|endoftext|>", "<|system|>", "<|user|>", "<|assistant|>", "<|end|>")
MISTRAL_TOKENS = (
    *("<s>", "</s>", "[INST]", "[/INST]", "[TOOL_CALLS]", "[AVAILABLE_TOOLS]"),
    *("[/AVAILABLE_TOOLS]", "[TOOL_RESULTS]", "[/TOOL_RESULTS]"),
)
KINDS = {
    "smollm2": Kind(
        chatml("You are a helpful AI assistant named Somebody"),
        (*CHATML_TOKENS, "<repo_name>"),
        *("<|im_start|>", "<|im_end|>", "<|im_end|>"),
    ),
    "qwen2.5": Kind(
        QWEN25,
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
    "mistral": Kind(MISTRAL, MISTRAL_TOKENS, "<s>", "</s>", "</s>"),
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
