"""The routes: what can be asked at which address, and what the engine is asked for then; and the
files of the web page, with what a browser may do with them."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, cast

from fastapi import APIRouter, Depends, Request
from fastapi.responses import PlainTextResponse, Response
from prometheus_client import CONTENT_TYPE_PLAIN_0_0_4, generate_latest
from pydantic import BaseModel

from config import SamplingConfig, UserError
from inference.api import schema
from inference.api.errors import ApiError, ErrorResponse, overloaded
from inference.api.service import Service
from inference.api.stream import ChatForm, CompletionForm, GenerateResponse
from inference.engine.answers import GenerationRequest
from inference.engine.loading import LoadedModel
from inference.engine.sampler import with_seed
from model.chat import Message, render_prompt

COMPLETION_TOKENS = 16
"""Tokens of a continuation where the request does not say: OpenAI's number."""

REASONS = {
    400: "A field is wrong; it is named.",
    401: "The API key is missing or wrong.",
    403: "The server is for its own machine.",
    404: "There is no such model.",
    408: "The body did not arrive in time.",
    413: "The body is too large.",
    415: "The body is not JSON.",
    500: "The server has failed.",
    503: "Come back after the seconds in Retry-After.",
}
EVENT = {"type": "object", "required": ["data"], "properties": {"data": {"type": "string"}}}
STREAM = {"text/event-stream": {"schema": EVENT}}
"""With stream: true, each event's data is a chunk in JSON; that of the last one is [DONE]."""


FOLDER = Path(__file__).parents[1] / "page"
"""The web page, in three files."""
PAGE_FILES = {
    "/": ("chat.html", "text/html"),
    "/chat.css": ("chat.css", "text/css"),
    "/chat.js": ("chat.js", "text/javascript"),
}
"""Path of the address: file in the folder, media type."""

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
    "require-trusted-types-for 'script'; trusted-types 'none'"
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-cache",
}
"""The page may load its own script and styles, talk to its own server, and nothing else; no other
page may show it in a frame. A browser keeps the files, but asks each time whether they are still
the same, so that none shows the page of an older version."""


def refusals(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """For the OpenAPI description: refusals that a route may answer with."""
    return {s: {"model": ErrorResponse, "description": REASONS[s]} for s in statuses}


def generated(kind: type[BaseModel]) -> dict[int | str, dict[str, Any]]:
    """For the OpenAPI description: all refusals, and a success, whole or as a stream."""
    return {**refusals(*REASONS), 200: {"model": kind, "content": STREAM}}


SEEN = refusals(401, 403)

router = APIRouter()


async def service_of(request: Request) -> Service:
    """The model that an app serves."""
    return cast(Service, request.app.state.service)


Served = Annotated[Service, Depends(service_of)]
"""A parameter that FastAPI fills with the model that is served."""


@router.post("/v1/chat/completions", responses=generated(schema.ChatCompletion))
async def answer_chat(body: schema.ChatCompletionRequest, service: Served) -> Response:
    """Answers a conversation, whole or as a stream of server-sent events."""
    check_chat(service, body)
    name, model = named(service, body)
    form = ChatForm(name, model.token_bytes, with_logprobs=bool(body.logprobs))
    return GenerateResponse(service, body, form, lambda: plan_chat(service, body), body.n or 1)


@router.post("/v1/completions", responses=generated(schema.Completion))
async def continue_text(body: schema.CompletionRequest, service: Served) -> Response:
    """Continues a text, whole or as a stream of server-sent events."""
    check_completion(service, body)
    name, model = named(service, body)
    with_logprobs = body.top_logprobs is not None
    form = CompletionForm(name, model.token_bytes, with_logprobs)
    count = len(body.prompts) * (body.n or 1)
    return GenerateResponse(service, body, form, lambda: plan_completion(service, body), count)


@router.head("/v1/models", include_in_schema=False)
@router.get("/v1/models", responses=SEEN)
async def list_models(service: Served) -> schema.Models:
    """The models that are served; requests without a name mean the first."""
    return schema.Models(data=[model_card(service, name) for name in service.models])


@router.get("/v1/models/{name:path}", responses={**SEEN, **refusals(404)})
async def show_model(name: str, service: Served) -> schema.Model:
    """One model."""
    check_name(service, name)
    return model_card(service, name)


# HEAD is what wget --spider, curl -I and load balancers send.
@router.head("/health", include_in_schema=False)
@router.get("/health", responses=refusals(403, 503))
async def check_health(service: Served) -> schema.Health:
    """Generates a token, which proves that the model answers."""
    if not await service.make_token():
        raise overloaded(f"no token was made within {service.config.health_seconds:g} s", 1)
    return schema.Health(model=service.name)


@router.get("/metrics", response_class=PlainTextResponse, responses=SEEN)
async def show_metrics(service: Served) -> Response:
    """What was counted, in Prometheus's text format."""
    page = generate_latest(service.metrics.registry)
    return Response(page, headers={"Content-Type": CONTENT_TYPE_PLAIN_0_0_4})


@router.api_route("/", methods=["GET", "HEAD"], include_in_schema=False)
@router.api_route("/chat.css", methods=["GET", "HEAD"], include_in_schema=False)
@router.api_route("/chat.js", methods=["GET", "HEAD"], include_in_schema=False)
async def show_page(request: Request) -> Response:
    """A file of the web page."""
    return page_file(request.url.path, request.headers.get("if-none-match", ""))


def page_file(path: str, known: str = "") -> Response:
    """A file of the page; without its content where the client has it already.

    Args:
        path: one of PAGE_FILES.
        known: the If-None-Match header, the tags of what the client has.
    """
    name, kind = PAGE_FILES[path]
    content = (FOLDER / name).read_bytes()
    tag = f'"{hashlib.sha256(content).hexdigest()[:32]}"'
    headers = {**HEADERS, "ETag": tag}
    if tag in known:  # a proxy that compresses makes it a weak tag: W/"..."
        return Response(status_code=304, headers=headers)
    return Response(content, media_type=kind, headers=headers)


def named(service: Service, body: schema.GenerateRequest) -> tuple[str, LoadedModel]:
    """The model that a request means, after its name."""
    name = body.model or service.name
    return name, service.models[name]


def model_card(service: Service, name: str) -> schema.Model:
    """The description of a model."""
    model = service.models[name]
    return schema.Model(
        id=name,
        created=service.created,
        owned_by="etude",
        kind="chat" if model.is_chat else "completion",
        context_length=service.engine.context,
        title=model.title,
        sampling=dataclasses.asdict(service.config.sampling),
    )


def check_request(service: Service, body: schema.GenerateRequest) -> None:
    """Refuses what is beyond the server's limits, or meant for another model.

    Raises:
        ApiError: with the field's name.
    """
    check_name(service, body.model or service.name)
    check_limit("n", body.n or 1, service.most_answers)
    check_limit("stop", len(body.stop_texts), service.config.max_stop)


def check_name(service: Service, name: str) -> None:
    """Refuses the name of another model."""
    if name not in service.models:
        here = " or ".join(map(repr, service.models))
        message = f"the model {name[:100]!r} is not here: use {here}, "
        message += "or start the server with --model_name"
        raise ApiError(404, message, "model", "model_not_found")


def check_chat(service: Service, body: schema.ChatCompletionRequest) -> None:
    """The same, for a conversation."""
    check_request(service, body)
    if body.top_logprobs and not body.logprobs:
        raise ApiError(400, "top_logprobs is only for logprobs: true", "top_logprobs")
    check_ending(body)
    name, model = named(service, body)
    if not model.is_chat:
        message = f"{name} only continues texts: use /v1/completions"
        raise ApiError(400, message, "model", "model_not_chat")


def check_ending(body: schema.ChatCompletionRequest) -> None:
    """Refuses a conversation whose end leaves open whether the model should answer or go on: an
    assistant's turn at the end is continued, which the fields of vLLM may not deny."""
    last = body.messages[-1]
    roles = [message.role for message in body.messages if message.text.strip()]
    continues = roles[-1:] == ["assistant"]
    if continues and last.role != "assistant":
        where = f"messages[{len(body.messages) - 1}]"
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
    if body.prompt == []:
        raise ApiError(400, "prompt is an empty list: give at least one text", "prompt")
    if body.best_of is not None and body.best_of != (body.n or 1):
        raise ApiError(400, "best_of must equal n: nothing is chosen here", "best_of")
    check_limit("prompt", len(body.prompts) * (body.n or 1), service.most_answers)


def check_limit(name: str, value: int, most: int) -> None:
    """Refuses a value, or a number of things, above a limit of the server's."""
    if value > most:
        message = f"{name}: {value} is more than this server takes: {most}"
        raise ApiError(400, message, name, "above_limit")


def plan_chat(service: Service, body: schema.ChatCompletionRequest) -> list[GenerationRequest]:
    """The engine's requests for a conversation, one for each answer.

    Raises:
        ApiError: there is no text in the conversation.
    """
    messages: list[Message] = [
        {"role": "system" if m.role == "developer" else m.role, "content": m.text}
        for m in body.messages
    ]
    try:
        prompt = render_prompt(named(service, body)[1].tokenizer, messages)
    except UserError as error:
        raise ApiError(400, f"messages: {error}", "messages", "invalid_value") from error
    top = (body.top_logprobs or 0) if body.logprobs else None
    limits = (body.max_tokens, body.max_completion_tokens)
    return requests_for(service, body, [prompt], limits, top)


def plan_completion(service: Service, body: schema.CompletionRequest) -> list[GenerationRequest]:
    """The engine's requests for texts, n for each.

    Raises:
        ApiError: a token id is not in the vocabulary.
    """
    prompts = prompts_of(named(service, body)[1], body)
    limits = (COMPLETION_TOKENS if body.max_tokens is None else body.max_tokens,)
    return requests_for(service, body, prompts, limits, body.top_logprobs)


def prompts_of(model: LoadedModel, body: schema.CompletionRequest) -> list[list[int]]:
    """The ids of each prompt; token ids are taken as they are."""
    found, most = [], len(model.tokenizer) - 1
    for number, prompt in enumerate(body.prompts):
        ids = model.render_text(prompt) if isinstance(prompt, str) else prompt
        if not ids or min(ids) < 0 or max(ids) > most:
            where = "prompt" if prompt is body.prompt else f"prompt[{number}]"
            message = f"{where}: give token ids from 0 to {most}, at least one"
            raise ApiError(400, message, where)
        found.append(ids)
    return found


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
    return [
        GenerationRequest(
            prompt, with_seed(sampling, index), model.stop_ids, stop, top_logprobs, model.adapter
        )
        for place, prompt in enumerate(prompts)
        for index in range(place * count, (place + 1) * count)
    ]


def sampling_of(
    body: schema.GenerateRequest, defaults: SamplingConfig, max_tokens: int
) -> SamplingConfig:
    """How tokens are chosen: as the request says, else by the server's settings."""
    names = {field.name for field in dataclasses.fields(SamplingConfig)} - {"max_tokens"}
    given = {name: value for name in names if (value := getattr(body, name)) is not None}
    if "top_k" in given:
        given["top_k"] = max(0, given["top_k"])  # -1 is vLLM's word for all tokens
    return replace(defaults, max_tokens=max_tokens, **given)
