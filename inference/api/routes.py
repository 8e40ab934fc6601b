"""The routes: what can be asked at which address, and what the engine is asked for then; and the
files of the web page, with what a browser may do with them."""

from __future__ import annotations

import asyncio
import dataclasses
import hashlib
import struct
from base64 import b64encode
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Annotated, Any, cast

from fastapi import APIRouter, Depends, Request
from fastapi.responses import PlainTextResponse, Response
from prometheus_client import CONTENT_TYPE_PLAIN_0_0_4, generate_latest
from pydantic import BaseModel, ValidationError

from config import UserError
from inference.api import schema
from inference.api.errors import ApiError, ErrorResponse, overloaded
from inference.api.plans import (
    check_chat,
    check_completion,
    check_ids,
    check_limit,
    check_name,
    check_texts,
    checked_name,
    ids_of,
    ids_of_request,
    named,
    plan_chat,
    plan_completion,
    require_chat,
)
from inference.api.responses import ResponseForm, ResponseObject, ResponsesRequest
from inference.api.service import Service
from inference.api.stream import ChatForm, CompletionForm, GenerateResponse
from inference.api.tools import has_tools, knows_thinking, parser_for
from inference.engine.answers import token_text

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
"""The web page."""
SCRIPTS = (
    *("texts.js", "elements.js", "state.js", "server.js", "answers.js", "highlight.js"),
    *("markdown.js", "tokens.js", "turns.js", "drawing.js", "contents.js", "files.js", "chat.js"),
)
"""In the order in which the page runs them."""
PAGE_FILES = {
    "/": ("chat.html", "text/html"),
    "/chat.css": ("chat.css", "text/css"),
    **{f"/{name}": (name, "text/javascript") for name in SCRIPTS},
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
    new_parser = partial(parser_for, model, body)
    form = ChatForm(name, model.token_bytes, bool(body.logprobs), new_parser)
    return GenerateResponse(
        service,
        form,
        lambda: plan_chat(service, body),
        count=body.n or 1,
        stream=bool(body.stream),
        with_usage=body.wants_usage,
    )


@router.post("/v1/responses", responses=generated(ResponseObject))
async def respond(body: ResponsesRequest, service: Served) -> Response:
    """Answers a conversation in the form of OpenAI's responses API."""
    try:
        chat = body.as_chat()
    except ValidationError as error:
        raise ApiError(400, f"input: {error.errors()[0]['msg']}", "input") from error
    check_chat(service, chat, "input")
    name, model = named(service, chat)
    form = ResponseForm(name, body, partial(parser_for, model, chat))
    plan = partial(plan_chat, service, chat, "input")
    return GenerateResponse(service, form, plan, count=1, stream=bool(body.stream))


@router.post("/v1/completions", responses=generated(schema.Completion))
async def continue_text(body: schema.CompletionRequest, service: Served) -> Response:
    """Continues a text, whole or as a stream of server-sent events."""
    check_completion(service, body)
    name, model = named(service, body)
    # Before a text stands <|endoftext|>, which its sender has not written.
    texts = schema.listed(body.texts)
    implicit, alone = int(isinstance(texts[0], str)), body.max_tokens == 0
    with_logprobs = body.top_logprobs is not None
    form = CompletionForm(name, model.token_bytes, with_logprobs, implicit, alone)
    count = len(texts) * (body.n or 1)
    return GenerateResponse(
        service,
        form,
        lambda: plan_completion(service, body),
        count=count,
        stream=bool(body.stream),
        with_usage=body.wants_usage,
    )


@router.post("/tokenize", responses=refusals(*REASONS))
async def tokenize(body: schema.TokenizeRequest, service: Served) -> schema.Tokens:
    """The token ids of a text, or of a conversation as the model reads it; as in vLLM."""
    name, model = checked_name(service, body.model)
    if body.messages is not None:
        require_chat(name, model)
    ids = await asyncio.to_thread(ids_of_request, model, body)
    names = [token_text(model.token_bytes(one)) for one in ids] if body.return_token_strs else None
    return schema.Tokens(
        count=len(ids), max_model_len=service.engine.context, tokens=ids, token_strs=names
    )


@router.post("/detokenize", responses=refusals(*REASONS))
async def detokenize(body: schema.DetokenizeRequest, service: Served) -> schema.Detokenized:
    """The text of token ids; as in vLLM."""
    model = checked_name(service, body.model)[1]
    check_ids(model, body.tokens, "tokens", least=0)
    data = b"".join(model.token_bytes(one) for one in body.tokens)
    return schema.Detokenized(prompt=data.decode("utf-8", errors="replace"))


@router.post("/v1/embeddings", responses=refusals(*REASONS))
async def embed(body: schema.EmbeddingRequest, service: Served) -> schema.Embeddings:
    """For each text the mean of its tokens' last hidden states, of length 1."""
    name, model = checked_name(service, body.model)
    check_texts(body.input, "input")
    count = len(schema.listed(body.input))
    check_limit("input", count, service.most_answers)
    with service.admit(count):
        texts = await asyncio.to_thread(ids_of, model, body.input, "input")
        try:
            vectors = [await service.embed(ids, model.adapter) for ids in texts]
        except UserError as error:
            raise ApiError(400, str(error), "input", "context_length_exceeded") from error
    written = packed if body.encoding_format == "base64" else list
    tokens = sum(map(len, texts))
    return schema.Embeddings(
        data=[schema.Embedding(index=n, embedding=written(v)) for n, v in enumerate(vectors)],
        model=name,
        usage=schema.EmbeddingUsage(prompt_tokens=tokens, total_tokens=tokens),
    )


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


def at_page_files(show: Callable[[Request], Any]) -> Callable[[Request], Any]:
    """Serves every file of the page by one function."""
    for path in PAGE_FILES:
        router.add_api_route(path, show, methods=["GET", "HEAD"], include_in_schema=False)
    return show


@at_page_files
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
        tools=model.is_chat and has_tools(model),
        enable_thinking=model.is_chat and knows_thinking(model),
    )


def packed(vector: Sequence[float]) -> str:
    """A vector in base64: float32 in little-endian order."""
    return b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode("ascii")
