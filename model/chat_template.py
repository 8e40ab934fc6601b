"""The chat template of a model: the text, in Jinja, that its directory holds, rendered as
transformers renders it.

It is the only place that says how a conversation is written; `model/chat_renderer.py` makes token
ids of it, and knows which of them are trained.
"""

from __future__ import annotations

import datetime
import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from config import UserError
from model.directory.storage import read_object_if_there

if TYPE_CHECKING:
    from jinja2 import Template

END_OF_TEXT = "<|endoftext|>"
"""Document border and padding; id 0."""
IM_START = "<|im_start|>"
"""Begins a turn of a conversation."""
IM_END = "<|im_end|>"
"""Ends a turn of a conversation."""

CHAT_TEMPLATE = r"""
{%- macro text_of(content) -%}
    {%- if content is string -%}{{- content -}}
    {%- elif content and content is iterable and content is not mapping -%}
        {%- for part in content -%}
            {%- if part is mapping and part['type'] == 'text' and part['text'] is string -%}
                {{- part['text'] -}}
            {%- else -%}
                {{- raise_exception('a part of a content is not text, which is all it may be') -}}
            {%- endif -%}
        {%- endfor -%}
    {%- else -%}{{- raise_exception('a message needs a content that is text') -}}{%- endif -%}
{%- endmacro -%}
{%- set ns = namespace(question=-1) -%}
{%- for message in messages -%}
    {%- if message['role'] == 'user' -%}{%- set ns.question = loop.index0 -%}{%- endif -%}
{%- endfor -%}
{%- if tools -%}
    {{- '<|im_start|>system\n' -}}
    {%- if messages and messages[0]['role'] == 'system' -%}
        {{- (text_of(messages[0]['content']) | trim) + '\n\n' -}}
    {%- endif -%}
    {{- '<tools>\n' -}}
    {%- for tool in tools -%}{{- (tool | tojson) + '\n' -}}{%- endfor -%}
    {{- '</tools><|im_end|>\n' -}}
{%- endif -%}
{%- for message in messages -%}
    {%- set role = message['role'] -%}
    {%- if role == 'assistant' -%}
        {%- set calls = message['tool_calls'] or [] -%}
        {%- set content = message['content'] -%}
        {%- set said = '' if calls and not content else text_of(content) | trim -%}
        {%- set thoughts = message['reasoning_content'] if loop.index0 > ns.question else '' -%}
        {{- '<|im_start|>assistant\n' -}}
        {%- generation -%}
            {%- if thoughts -%}
                {{- '<think>\n' + (thoughts | trim) + '\n</think>\n\n' -}}
            {%- endif -%}
            {{- said -}}
            {%- for call in calls -%}
                {{- '\n' if said or not loop.first -}}
                {%- set made = call['function'] -%}
                {%- if made is not mapping or not made['name'] -%}
                    {{- raise_exception('a message calls a tool without its name') -}}
                {%- endif -%}
                {%- set arguments = made['arguments'] -%}
                {{- '<tool_call>\n{"name": ' + (made['name'] | tojson) + ', "arguments": ' -}}
                {{- arguments if arguments is string else arguments | tojson -}}
                {{- '}\n</tool_call>' -}}
            {%- endfor -%}
            {{- '<|im_end|>' -}}
        {%- endgeneration -%}
        {{- '\n' -}}
    {%- elif role == 'tool' -%}
        {{- '<|im_start|>tool\n<tool_response>\n' + (text_of(message['content']) | trim) -}}
        {{- '\n</tool_response><|im_end|>\n' -}}
    {%- elif role not in ['system', 'user'] -%}
        {{- raise_exception('a message has another role than system, user, assistant or tool') -}}
    {%- elif not (tools and loop.first and role == 'system') -%}
        {{- '<|im_start|>' + role + '\n' + (text_of(message['content']) | trim) -}}
        {{- '<|im_end|>\n' -}}
    {%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt -%}{{- '<|im_start|>assistant\n' -}}{%- endif -%}
"""
"""ChatML, the template of every model that Etude trains from scratch; calls of tools and their
results as in the Hermes models, thoughts as in Qwen3: shown from the last question on.

Text may come as a string or as OpenAI's list of text parts, which are joined; what the model cannot
read (a picture, no content, another role) is an error. The marks of generation are transformers':
they enclose what is trained. <think>, <tool_call> and <tool_response> are text, unless a tokenizer
has them as added tokens: no trained tokenizer changes. They cannot forge a turn, because thoughts
and calls stand in the assistant's turn, and results in one of the role tool."""

EARLIER_TEMPLATES = (
    "855053a7cfef6cc99fc87e43faf355356003a02823909ecdb59cddd3acb1c898",
    "c15aea26a40889645757b8eb803496dbd29e1f5e60dfba1bc0203e9665e44f85",
)
"""sha256 of the templates that Etude wrote before: without lists of parts, and without tools. Of
plain conversations they make the same, so a model that has one gets today's."""


@dataclass(frozen=True)
class ChatFormat:
    """A chat template and what it may look up."""

    template: str = CHAT_TEMPLATE
    """In Jinja."""
    special_tokens: tuple[tuple[str, str], ...] = (("bos_token", END_OF_TEXT),)
    """The tokens that the template may call by a name: bos_token, eos_token ..."""
    date: str = "2024-07-26"
    """Today, for templates that print the date: fixed, so that training data and prompts are the
    same on every day. The default is what Llama 3's templates print where they get no date; an
    import sets its own day."""
    eos_ids: tuple[int, ...] = ()
    """The tokens that end a generation by config.json and generation_config.json."""

    @property
    def is_etudes(self) -> bool:
        """Whether it is Etude's own ChatML."""
        return self.template == CHAT_TEMPLATE

    def special_token(self, name: str) -> str | None:
        """The token that the template calls by a name."""
        return dict(self.special_tokens).get(name)

    def render(
        self,
        messages: Sequence[Mapping[str, Any]],
        add_generation_prompt: bool,
        tools: Sequence[Any] | None = None,
        options: Iterable[tuple[str, Any]] = (),
    ) -> str:
        """The text of a conversation.

        Args:
            messages: as templates read them; see `model/conversation.py`.
            add_generation_prompt: end with what an answer begins behind.
            tools: what may be called.
            options: other variables of the template, by their names.

        Raises:
            UserError: the template refuses the conversation, or cannot be run.
        """
        template = compiled(self.template, self.date)
        try:
            return template.render(
                **dict(self.special_tokens),
                **dict(options),
                messages=messages,
                tools=tools,
                documents=None,
                add_generation_prompt=add_generation_prompt,
            )
        except Exception as error:  # a template is a program: whatever it raises
            raise UserError(f"the model's chat template refuses this: {error}") from error

    @property
    def fingerprint(self) -> str:
        """sha256 of all that decides how a conversation is written."""
        parts = [self.template, self.special_tokens, self.date]
        return hashlib.sha256(json.dumps(parts).encode("utf-8")).hexdigest()


@lru_cache(maxsize=8)
def compiled(text: str, date: str) -> Template:
    """A template in the environment that transformers gives it (its
    utils/chat_template_utils.py), but with a fixed date.

    Raises:
        UserError: it is not Jinja.
    """
    # Importing Jinja takes 50 ms, which a pretraining run does not need.
    from jinja2 import TemplateError, nodes
    from jinja2.ext import Extension, loopcontrols
    from jinja2.parser import Parser
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    class GenerationMarks(Extension):
        """{% generation %} ... {% endgeneration %} encloses what transformers takes for an answer;
        here it is written as if the marks were not there."""

        tags = {"generation"}  # noqa: RUF012  # jinja2 declares it so

        def parse(self, parser: Parser) -> nodes.Node:
            line = next(parser.stream).lineno
            body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
            return nodes.Scope(body, lineno=line)

    def tojson(value: Any, ensure_ascii: bool = False, **options: Any) -> str:
        return json.dumps(value, ensure_ascii=ensure_ascii, **options)

    def raise_exception(message: str) -> None:
        raise TemplateError(message)

    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[GenerationMarks, loopcontrols]
    )
    environment.filters["tojson"] = tojson
    environment.globals["raise_exception"] = raise_exception
    environment.globals["strftime_now"] = datetime.date.fromisoformat(date).strftime
    try:
        return environment.from_string(text)
    except TemplateError as error:
        raise UserError(f"the model's chat template is not readable as Jinja: {error}") from error


def read_chat_format(directory: Path) -> ChatFormat:
    """The chat format of a directory: the template in a file of its own or in
    `tokenizer_config.json`; Etude's where there is none."""
    fields = {
        **read_object_if_there(directory / "special_tokens_map.json"),
        **read_object_if_there(directory / "tokenizer_config.json"),
    }
    template = fields.get("chat_template")
    if isinstance(template, list):  # several, by their names
        template = {each.get("name"): each.get("template") for each in template}.get("default")
    if (directory / "chat_template.jinja").is_file():
        template = (directory / "chat_template.jinja").read_bytes().decode("utf-8")
    if not template or hashlib.sha256(template.encode("utf-8")).hexdigest() in EARLIER_TEMPLATES:
        template = CHAT_TEMPLATE
    named = {"bos_token": END_OF_TEXT}
    for name in ("bos_token", "eos_token", "unk_token"):
        token = fields.get(name)
        token = token.get("content") if isinstance(token, dict) else token
        if isinstance(token, str):
            named[name] = token
    date = str(fields.get(DATE_FIELD, ChatFormat.date))
    return ChatFormat(template, tuple(named.items()), date, read_eos_ids(directory))


DATE_FIELD = "chat_date"
"""Where `tokenizer_config.json` keeps the day of a template that prints one."""


def read_eos_ids(directory: Path) -> tuple[int, ...]:
    """The tokens that end a generation by config.json and generation_config.json."""
    found: list[int] = []
    for name in ("config.json", "generation_config.json"):
        ids = read_object_if_there(directory / name).get("eos_token_id")
        found += ids if isinstance(ids, list) else [] if ids is None else [ids]
    return tuple(dict.fromkeys(found))
