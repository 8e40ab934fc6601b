"""The routes: what can be asked at which address."""

from __future__ import annotations

import dataclasses
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import PlainTextResponse, Response

from inference.api.answering import AnswerResponse
from inference.api.calls import ClosedError
from inference.api.errors import ApiError, ErrorReply, overloaded
from inference.api.forms import ChatForm, CompletionForm
from inference.api.metrics import CONTENT_TYPE, exposition, number
from inference.api.page import page_response
from inference.api.plans import (
    answer_count,
    check_chat,
    check_completion,
    plan_chat,
    plan_completion,
)
from inference.api.replies import Chat, Completion, Health, Model, Models
from inference.api.requests import ChatRequest, CompletionRequest, Sampled
from inference.api.serving import Serving, serving_of

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


def refusals(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """For the OpenAPI page: refusals that a route may answer with."""
    return {s: {"model": ErrorReply, "description": REASONS[s]} for s in statuses}


ASKED = refusals(*REASONS)
SEEN = refusals(401, 403)

router = APIRouter()


@router.post("/v1/chat/completions", responses={**ASKED, 200: {"model": Chat, "content": STREAM}})
async def answer_chat(body: ChatRequest, request: Request) -> Response:
    """Answers a conversation, whole or as a stream of server-sent events."""
    serving = serving_of(request)
    check_chat(serving, body)
    form = ChatForm(serving, with_logprobs=bool(body.logprobs))
    return AnswerResponse(
        serving,
        plan=lambda: plan_chat(serving, body),
        count=body.n or 1,
        form=form,
        stream=bool(body.stream),
        with_usage=wants_usage(body),
    )


@router.post("/v1/completions", responses={**ASKED, 200: {"model": Completion, "content": STREAM}})
async def continue_text(body: CompletionRequest, request: Request) -> Response:
    """Continues a text, whole or as a stream of server-sent events."""
    serving = serving_of(request)
    check_completion(serving, body)
    form = CompletionForm(serving, with_logprobs=body.logprobs is not None)
    return AnswerResponse(
        serving,
        plan=lambda: plan_completion(serving, body),
        count=answer_count(body),
        form=form,
        stream=bool(body.stream),
        with_usage=wants_usage(body),
    )


@router.get("/v1/models", responses=SEEN)
async def list_models(request: Request) -> Models:
    """The model that is served."""
    return Models(data=[model_card(serving_of(request))])


@router.get("/v1/models/{name:path}", responses={**SEEN, **refusals(404)})
async def show_model(name: str, request: Request) -> Model:
    """One model."""
    serving = serving_of(request)
    if name != serving.name:
        message = f"the model {name[:100]!r} is not here: use {serving.name!r}"
        raise ApiError(404, message, "model", "model_not_found")
    return model_card(serving)


# By HEAD ask wget --spider, curl -I and load balancers.
@router.head("/health", include_in_schema=False)
@router.get("/health", responses=refusals(403, 503))
async def check_health(request: Request) -> Health:
    """Makes a token, which proves that the model answers."""
    serving = serving_of(request)
    seconds = serving.config.health_seconds
    try:
        well = await serving.service.make_token(seconds)
    except ClosedError as error:
        raise overloaded(str(error), 1) from error
    if not well:
        raise overloaded(f"no token was made within {seconds:g} s", 1)
    return Health(model=serving.name)


@router.get("/metrics", response_class=PlainTextResponse, responses=SEEN)
async def show_metrics(request: Request) -> Response:
    """What was counted, in Prometheus's text form."""
    serving = serving_of(request)
    service = serving.service
    lines = [
        *number("gauge", "etude_running_answers", "Answers that have a slot.", service.running),
        *number("gauge", "etude_waiting_answers", "Answers that wait for one.", service.waiting),
        *service.metrics.lines(),
        *serving.requests.lines(),
    ]
    return Response(exposition(lines), headers={"Content-Type": CONTENT_TYPE})


@router.head("/", include_in_schema=False)
@router.get("/", include_in_schema=False)
async def show_page() -> Response:
    """The web page."""
    return page_response()


def wants_usage(body: Sampled) -> bool:
    """Whether a stream is to end with what it took."""
    return bool(body.stream_options and body.stream_options.include_usage)


def model_card(serving: Serving) -> Model:
    """What there is to know about the model."""
    return Model(
        id=serving.name,
        created=serving.created,
        owned_by="etude",
        kind="chat" if serving.model.is_chat else "completion",
        context_length=serving.service.context,
        title=serving.model.title,
        sampling=dataclasses.asdict(serving.config.sampling),
    )
