"""What a request asks of the engine, and what is refused before it comes to that."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, cast

from config import SamplingConfig, UserError
from inference.api import schema
from inference.api.errors import ApiError
from inference.api.service import Service
from inference.api.tools import has_tools, must_call, offered, tool_grammar
from inference.engine.answers import GenerationRequest
from inference.engine.constraint import Grammar, json_grammar
from inference.engine.loading import LoadedModel
from inference.engine.sampler import with_seed
from model.chat import render_prompt
from model.conversation import Message

COMPLETION_TOKENS = 16
"""Tokens of a continuation where the request does not say: OpenAI's number."""

TEMPLATE_VARIABLES = {"messages", "tools", "add_generation_prompt", "bos_token", "eos_token"}
"""What a chat template is given by other fields."""


def named(service: Service, body: schema.GenerateRequest) -> tuple[str, LoadedModel]:
    """The model that a request means, after its name."""
    return checked_name(service, body.model)


def check_request(service: Service, body: schema.GenerateRequest) -> None:
    """Refuses what is beyond the server's limits, or meant for another model.

    Raises:
        ApiError: with the field's name.
    """
    checked_name(service, body.model)
    check_limit("n", body.n or 1, service.most_answers)
    check_limit("stop", len(body.stop_texts), service.config.max_stop)


def check_name(service: Service, name: str) -> None:
    """Refuses the name of another model."""
    if name not in service.models:
        here = " or ".join(map(repr, service.models))
        message = f"the model {name[:100]!r} is not here: use {here}, "
        message += "or start the server with --model_name"
        raise ApiError(404, message, "model", "model_not_found")


def checked_name(service: Service, name: str | None) -> tuple[str, LoadedModel]:
    """The model of a name, after that name; None or empty: the first one."""
    check_name(service, name or service.name)
    return name or service.name, service.models[name or service.name]


def check_chat(
    service: Service, body: schema.ChatCompletionRequest, field: str = "messages"
) -> None:
    """The same, for a conversation, which is in a field."""
    check_request(service, body)
    if body.top_logprobs and not body.logprobs:
        raise ApiError(400, "top_logprobs is only for logprobs: true", "top_logprobs")
    check_ending(body, field)
    name, model = named(service, body)
    require_chat(name, model)
    check_tools(name, model, body)
    for option in TEMPLATE_VARIABLES & set(body.chat_template_kwargs or ()):
        where = f"chat_template_kwargs.{option}"
        raise ApiError(400, f"{where} is said by another field", where)


def check_tools(name: str, model: LoadedModel, body: schema.ChatCompletionRequest) -> None:
    """Refuses tools that the model cannot know of, and a choice of none of them."""
    if not body.tools:
        if must_call(body):
            raise ApiError(400, "tool_choice: there are no tools to choose from", "tool_choice")
        return
    if not has_tools(model):
        message = f"tools: the chat template of {name} has none: describe them in a message"
        raise ApiError(400, message, "tools", "unsupported_parameter")
    names = [tool.function.name for tool in body.tools]
    if twice := sorted({one for one in names if names.count(one) > 1}):
        raise ApiError(400, f"tools: two are called {twice[0]}", "tools")
    if must_call(body) and not offered(body):
        where = "tool_choice.function.name"
        raise ApiError(400, f"{where}: there is no tool of this name in tools", where)


def require_chat(name: str, model: LoadedModel) -> None:
    """Refuses a model that has not learned to answer."""
    if not model.is_chat:
        message = f"{name} only continues texts: use /v1/completions"
        raise ApiError(400, message, "model", "model_not_chat")


def check_ending(body: schema.ChatCompletionRequest, field: str) -> None:
    """Refuses a conversation whose end leaves open whether the model should answer or go on: an
    assistant's turn at the end is continued, which the fields of vLLM may not deny."""
    last = body.messages[-1]
    roles = [message.role for message in body.messages if not message.is_empty]
    continues = roles[-1:] == ["assistant"]
    if continues and last.role != "assistant":
        where = f"{field}[{len(body.messages) - 1}]"
        raise ApiError(400, f"{where} is empty: there is nothing to answer", where)
    for name, value in (
        ("continue_final_message", continues),
        ("add_generation_prompt", not continues),
    ):
        if getattr(body, name) not in (None, value):
            message = f"{name}: an assistant's message at the end is continued, others are answered"
            raise ApiError(400, message, name)


def check_completion(service: Service, body: schema.CompletionRequest) -> None:
    """The same, for texts to be continued."""
    check_request(service, body)
    check_texts(body.texts, "prompt")
    if body.best_of is not None and body.best_of != (body.n or 1):
        raise ApiError(400, "best_of must equal n: nothing is chosen here", "best_of")
    if body.max_tokens == 0 and not body.echo:
        raise ApiError(400, "max_tokens is 0: nothing would be made, without echo", "max_tokens")
    check_limit("prompt", len(schema.listed(body.texts)) * (body.n or 1), service.most_answers)


def check_texts(texts: schema.Texts, field: str) -> None:
    """Refuses a list of no texts."""
    if not schema.listed(texts):
        raise ApiError(400, f"{field} is an empty list: give at least one text", field)


def check_limit(name: str, value: int, most: int) -> None:
    """Refuses a value, or a number of things, above a limit of the server's."""
    if value > most:
        message = f"{name}: {value} is more than this server takes: {most}"
        raise ApiError(400, message, name, "above_limit")


def plan_chat(
    service: Service, body: schema.ChatCompletionRequest, field: str = "messages"
) -> list[GenerationRequest]:
    """The engine's requests for a conversation, one for each answer.

    Raises:
        ApiError: there is no text in the conversation.
    """
    model = named(service, body)[1]
    options = body.chat_template_kwargs or {}
    prompt = render_messages(model, body.messages, field, body.tools or (), options)
    top = (body.top_logprobs or 0) if body.logprobs else None
    limits = (body.max_tokens, body.max_completion_tokens)
    return requests_for(service, body, [prompt], limits, top)


def render_messages(
    model: LoadedModel,
    messages: Sequence[schema.ChatMessage],
    field: str = "messages",
    tools: Sequence[schema.Tool] = (),
    options: Mapping[str, Any] = {},  # never changed
) -> list[int]:
    """The ids of a conversation that is to be answered; it is in a field of the request.

    Raises:
        ApiError: there is no text in it, or the chat template refuses it.
    """
    turns = [cast(Message, message.turn()) for message in messages]
    described = [tool.model_dump(exclude_none=True) for tool in tools]
    try:
        return render_prompt(model.tokenizer, turns, described, options)
    except UserError as error:
        raise ApiError(400, f"{field}: {error}", field, "invalid_value") from error


def plan_completion(service: Service, body: schema.CompletionRequest) -> list[GenerationRequest]:
    """The engine's requests for texts, n for each.

    Raises:
        ApiError: a token id is not in the vocabulary.
    """
    prompts = ids_of(named(service, body)[1], body.texts, "prompt")
    # A model always makes a token; of an echo alone it is not sent.
    limits = (COMPLETION_TOKENS if body.max_tokens is None else body.max_tokens or 1,)
    requests = requests_for(service, body, prompts, limits, body.top_logprobs)
    if not body.echo:
        return requests
    return [replace(one, prompt_logprobs=body.top_logprobs or 0) for one in requests]


def ids_of(model: LoadedModel, texts: schema.Texts, field: str) -> list[list[int]]:
    """The ids of each text; token ids are taken as they are.

    Raises:
        ApiError: a token id is not in the vocabulary.
    """
    found, each = [], schema.listed(texts)
    for number, text in enumerate(each):
        ids = model.render_text(text) if isinstance(text, str) else text
        check_ids(model, ids, field if text is texts else f"{field}[{number}]")
        found.append(ids)
    return found


def ids_of_request(model: LoadedModel, body: schema.TokenizeRequest) -> list[int]:
    """The ids of a text or a conversation.

    Raises:
        ApiError: both are given, or none is; or there is no text in the conversation.
    """
    if (body.prompt is None) == (body.messages is None):
        raise ApiError(400, "give either prompt or messages", "prompt")
    if body.messages is not None:
        return render_messages(model, body.messages)
    text = body.prompt or ""
    without = body.add_special_tokens is False
    return model.tokenizer.encode(text) if without else model.render_text(text)


def check_ids(model: LoadedModel, ids: Sequence[int], where: str, least: int = 1) -> None:
    """Refuses token ids that are not in the vocabulary, and too few."""
    most = len(model.tokenizer) - 1
    if len(ids) < least or (ids and not 0 <= min(ids) <= max(ids) <= most):
        count = ", at least one" if least else ""
        message = f"{where}: give token ids of this model, from 0 to {most}{count}, or send texts"
        raise ApiError(400, message, where)


def requests_for(
    service: Service,
    body: schema.GenerateRequest,
    prompts: Sequence[Sequence[int]],
    limits: Sequence[int | None],
    top_logprobs: int | None,
) -> list[GenerationRequest]:
    """n requests for each prompt, with the seeds seed, seed + 1 ...

    Args:
        service: the model; its own limit on the tokens of an answer holds too.
        body: what was asked.
        prompts: the ids of each.
        limits: most tokens of an answer; None and -1 set no limit.
        top_logprobs: see GenerationRequest.
    """
    most = service.config.sampling.max_tokens
    most = min([most, *(limit for limit in limits if limit not in (None, -1))])
    sampling = sampling_of(body, service.config.sampling, most)
    model, stop, count = named(service, body)[1], body.stop_texts, body.n or 1
    grammar = grammar_of(model, body)
    return [
        GenerationRequest(
            prompt,
            with_seed(sampling, index),
            model.stop_ids,
            stop,
            top_logprobs,
            model.adapter,
            grammar,
        )
        for place, prompt in enumerate(prompts)
        for index in range(place * count, (place + 1) * count)
    ]


def grammar_of(model: LoadedModel, body: schema.GenerateRequest) -> Grammar | None:
    """What an answer must be; None: any text.

    Raises:
        ApiError: a schema that cannot be kept to.
    """
    wanted, where = answer_schema(body.response_format), "response_format.json_schema.schema"
    text = None if wanted is None else json_grammar(*wanted)
    begun = ""
    if isinstance(body, schema.ChatCompletionRequest):
        last = body.messages[-1]
        begun = last.text.rstrip() if last.role == "assistant" else ""
        if offered(body):
            text, where, begun = tool_grammar(model, body, wanted and wanted[0]), "tools", ""
    try:
        return Grammar(model.vocabulary, text, begun) if text else None
    except UserError as error:
        raise ApiError(400, f"{where}: {error}", where, "invalid_value") from error


def answer_schema(wanted: schema.ResponseFormat | None) -> tuple[dict[str, Any], bool] | None:
    """The JSON schema of an answer, and whether keywords that cannot be kept to are left out of
    account; None: any text."""
    if isinstance(wanted, schema.JsonObjectFormat):
        return {"type": "object"}, False
    if isinstance(wanted, schema.JsonSchemaFormat):
        return wanted.json_schema.schema_, not wanted.json_schema.strict
    return None


def sampling_of(
    body: schema.GenerateRequest, defaults: SamplingConfig, max_tokens: int
) -> SamplingConfig:
    """How tokens are chosen: as the request says, else by the server's settings."""
    names = {field.name for field in dataclasses.fields(SamplingConfig)} - {"max_tokens"}
    given = {name: value for name in names if (value := getattr(body, name)) is not None}
    if "top_k" in given:
        given["top_k"] = max(0, given["top_k"])  # -1 is vLLM's word for all tokens
    return replace(defaults, max_tokens=max_tokens, **given)
