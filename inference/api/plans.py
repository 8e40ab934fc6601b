"""From what a client asks to what the engine is asked; what does not fit is refused here."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from typing import TypeVar

from config import SamplingConfig, UserError
from inference.api.errors import ApiError
from inference.api.requests import ChatRequest, CompletionRequest, Sampled
from inference.api.serving import Serving
from inference.engine.answers import Request
from inference.engine.engine import check_prompt
from model.chat import Message, check_messages, render_prompt

COMPLETION_TOKENS = 16
"""Tokens of a continuation where the request does not say: OpenAI's number."""

Value = TypeVar("Value")


def check_request(serving: Serving, body: Sampled) -> None:
    """Refuses what is beyond the server's limits, or meant for another model.

    Raises:
        ApiError: with the field's name.
    """
    config = serving.config
    if body.model is not None and body.model != serving.name:
        message = f"the model {body.model[:100]!r} is not here: use {serving.name!r}"
        raise ApiError(404, message, "model", "model_not_found")
    check_limit("n", body.n or 1, config.max_n)
    check_limit("stop", len(body.stop_texts), config.max_stop)
    check_limit("max_tokens", body.max_tokens or 1, config.sampling.max_tokens)
    if body.stream_options is not None and not body.stream:
        raise ApiError(400, "stream_options is only for stream: true", "stream_options")


def check_chat(serving: Serving, body: ChatRequest) -> None:
    """The same, for a conversation."""
    check_request(serving, body)
    check_limit("messages", len(body.messages), serving.config.max_messages)
    most = serving.config.sampling.max_tokens
    check_limit("max_completion_tokens", body.max_completion_tokens or 1, most)
    if body.top_logprobs is not None and not body.logprobs:
        raise ApiError(400, "top_logprobs is only for logprobs: true", "top_logprobs")
    if None not in (body.max_tokens, body.max_completion_tokens) and (
        body.max_tokens != body.max_completion_tokens
    ):
        message = "max_tokens is the old name of max_completion_tokens: give one of them"
        raise ApiError(400, message, "max_tokens")
    if not serving.model.is_chat:
        message = f"{serving.name} only continues texts: use /v1/completions"
        raise ApiError(400, message, "model", "model_not_chat")


def check_completion(serving: Serving, body: CompletionRequest) -> None:
    """The same, for texts to be continued."""
    check_request(serving, body)
    if not body.prompt and not isinstance(body.prompt, str):
        raise ApiError(400, "prompt is an empty list: give at least one text", "prompt")
    if body.echo:
        raise ApiError(400, "echo is not supported by this server", "echo", "unsupported_parameter")
    if body.best_of is not None and body.best_of != (body.n or 1):
        raise ApiError(400, "best_of must equal n: nothing is chosen here", "best_of")
    check_limit("prompt", answer_count(body), serving.config.max_n)


def check_limit(name: str, value: int, most: int) -> None:
    """Refuses a value, or a number of things, above a limit of the server's."""
    if value > most:
        raise ApiError(
            400, f"{name}: {value} is more than this server takes: {most}", name, "above_limit"
        )


def answer_count(body: CompletionRequest) -> int:
    """How many continuations are wanted: n of each prompt."""
    several = isinstance(body.prompt, list) and not isinstance(body.prompt[0], int)
    return (len(body.prompt) if several else 1) * (body.n or 1)


def plan_chat(serving: Serving, body: ChatRequest) -> list[Request]:
    """The engine's requests for a conversation, one for each answer.

    Raises:
        ApiError: the conversation is malformed or too long.
    """
    messages: list[Message] = [
        {"role": "system" if m.role == "developer" else m.role, "content": m.text}
        for m in body.messages
    ]
    if problem := check_messages(list(messages)):
        raise wrong_messages(problem)
    try:
        prompt = render_prompt(serving.model.tokenizer, messages)
    except UserError as error:
        raise ApiError(400, f"messages: {error}", "messages", "invalid_value") from error
    check_length(serving, prompt, "messages")
    most = first_of(body.max_completion_tokens, body.max_tokens, serving.config.sampling.max_tokens)
    top = first_of(body.top_logprobs, 0) if body.logprobs else None
    return requests_for(serving, body, [prompt], most, top)


def wrong_messages(problem: str) -> ApiError:
    """A refusal of a conversation: check_messages counts from 1, a field's name from 0."""
    numbered = re.fullmatch(r"message (\d+) (.*)", problem, re.DOTALL)
    if not numbered:
        return ApiError(400, f"messages: {problem}", "messages", "invalid_value")
    where = f"messages[{int(numbered[1]) - 1}]"
    return ApiError(400, f"{where} {numbered[2]}", where, "invalid_value")


def plan_completion(serving: Serving, body: CompletionRequest) -> list[Request]:
    """The engine's requests for texts, n for each.

    Raises:
        ApiError: a text is too long, or a token is none.
    """
    prompts = prompts_of(serving, body.prompt)
    for prompt in prompts:
        check_length(serving, prompt, "prompt")
    most = min(COMPLETION_TOKENS, serving.config.sampling.max_tokens)
    return requests_for(serving, body, prompts, first_of(body.max_tokens, most), body.logprobs)


def prompts_of(
    serving: Serving, prompt: str | Sequence[str] | Sequence[int] | Sequence[Sequence[int]]
) -> list[list[int]]:
    """The ids of each prompt; <|endoftext|> comes before a text, as before every document in
    training, and token ids are taken as they are."""
    tokenizer = serving.model.tokenizer
    several = [prompt] if isinstance(prompt, str) or isinstance(prompt[0], int) else prompt
    found = []
    for number, one in enumerate(several):
        if isinstance(one, str):
            found.append([tokenizer.end_of_text_id, *tokenizer.encode(one)])
            continue
        where = "prompt" if several is not prompt else f"prompt[{number}]"
        ids = [token for token in one if isinstance(token, int)]  # type: ignore[union-attr]
        if not ids or not all(0 <= token < len(tokenizer) for token in ids):
            message = f"{where}: give token ids from 0 to {len(tokenizer) - 1}, at least one"
            raise ApiError(400, message, where)
        found.append(ids)
    return found


def check_length(serving: Serving, prompt: Sequence[int], field: str) -> None:
    """Refuses a prompt that leaves no room for an answer."""
    try:
        check_prompt(prompt, serving.service.context)
    except UserError as error:
        raise ApiError(400, str(error), field, "context_length_exceeded") from error


def requests_for(
    serving: Serving,
    body: Sampled,
    prompts: Sequence[Sequence[int]],
    max_tokens: int,
    top_logprobs: int | None,
) -> list[Request]:
    """n requests for each prompt, with the seeds seed, seed + 1 ..."""
    sampling = sampling_of(body, serving.config.sampling, max_tokens)
    stop_ids, stop, count = serving.model.stop_ids, body.stop_texts, body.n or 1
    return [
        Request(prompt, with_seed(sampling, index), stop_ids, stop, top_logprobs)
        for place, prompt in enumerate(prompts)
        for index in range(place * count, (place + 1) * count)
    ]


def sampling_of(body: Sampled, defaults: SamplingConfig, max_tokens: int) -> SamplingConfig:
    """How tokens are chosen: as the request says, else by the server's settings."""
    return SamplingConfig(
        temperature=float(first_of(body.temperature, defaults.temperature)),
        top_k=max(0, first_of(body.top_k, defaults.top_k)),
        top_p=float(first_of(body.top_p, defaults.top_p)),
        min_p=float(first_of(body.min_p, defaults.min_p)),
        repetition_penalty=float(first_of(body.repetition_penalty, defaults.repetition_penalty)),
        presence_penalty=float(first_of(body.presence_penalty, defaults.presence_penalty)),
        frequency_penalty=float(first_of(body.frequency_penalty, defaults.frequency_penalty)),
        max_tokens=max_tokens,
        seed=body.seed if body.seed is not None else defaults.seed,
    )


def with_seed(sampling: SamplingConfig, index: int) -> SamplingConfig:
    """The settings of the answer with this index."""
    if sampling.seed is None:
        return sampling
    return replace(sampling, seed=(sampling.seed + index) % 2**63)


def first_of(*values: Value | None) -> Value:
    """The first value that is given."""
    return next(value for value in values if value is not None)
