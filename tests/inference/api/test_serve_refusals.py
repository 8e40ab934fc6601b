"""What is wrong with a request is said in OpenAI's form, and the field is named."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import httpx
import pytest

from config import ModelConfig
from inference.api.app import HALF_A_PAIR, whole_or_replaced
from inference.api.routes import FOLDER, SCRIPTS
from model.tokenizer import EtudeTokenizer
from tests.inference.http_server import CONFIG, Server, running, tiny_model

CHAT, TEXT = "/v1/chat/completions", "/v1/completions"
USER = [{"role": "user", "content": "Hello"}]
HI = {"role": "assistant", "content": "Hi"}


@pytest.fixture(scope="module")
def server(tokenizer: EtudeTokenizer, model_config: ModelConfig) -> Iterator[Server]:
    config = replace(CONFIG, max_body=20_000, slots=4, max_queue=8, max_stop=2)
    config = replace(config, sampling=replace(config.sampling, max_tokens=100))
    origins = ("https://page.example", "app://notes")
    config = replace(config, cors_origin=origins, allowed_host=("Host.docker.internal",))
    model = tiny_model(tokenizer, model_config, context=128)
    with running(model, config) as server:
        yield server


@pytest.fixture(scope="module")
def client(server: Server) -> Iterator[httpx.Client]:
    with server.client() as client:
        yield client


def error_of(reply: httpx.Response) -> tuple[int, str | None, str | None]:
    """Status, field and code; and the form is OpenAI's."""
    body = reply.json()
    assert set(body) == {"error"}
    assert set(body["error"]) == {"message", "type", "param", "code"}
    assert body["error"]["message"]
    return reply.status_code, body["error"]["param"], body["error"]["code"]


def message(**fields: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": "Hello", **fields}]}


def function(name: str, parameters: dict[str, Any] | None = None) -> dict[str, Any]:
    fields = {"name": name, "parameters": parameters or {}, "strict": True}
    return {"type": "function", "function": fields}


FUNCTION = function("f")


def json_schema(schema: dict[str, Any]) -> dict[str, Any]:
    return {"type": "json_schema", "json_schema": {"name": "a", "schema": schema, "strict": True}}


WRONG_FIELDS = [
    ({"temperature": "hot"}, "temperature"),
    ({"temperature": 2.1}, "temperature"),
    ({"temperature": True}, "temperature"),
    ({"top_p": -0.1}, "top_p"),
    ({"max_tokens": 0}, "max_tokens"),
    ({"max_tokens": -2}, "max_tokens"),
    ({"max_tokens": 5.5}, "max_tokens"),
    ({"max_tokens": "5"}, "max_tokens"),
    ({"n": 0}, "n"),
    ({"n": 13}, "n"),
    ({"n": "1"}, "n"),
    ({"seed": 2**64}, "seed"),
    ({"seed": 1.5}, "seed"),
    ({"stop": ["a", "b", "c"]}, "stop"),
    ({"stop": [1]}, "stop[0]"),
    ({"stop": {}}, "stop"),
    ({"stream": 1}, "stream"),
    ({"stream_options": {"include": True}}, "stream_options.include"),
    ({"logprobs": True, "top_logprobs": 21}, "top_logprobs"),
    ({"top_logprobs": 2}, "top_logprobs"),
    ({"tools": [{"type": "function"}]}, "tools[0].function"),
    ({"tools": [{"type": "web_search"}]}, "tools[0].type"),
    ({"tools": [FUNCTION, FUNCTION]}, "tools"),
    ({"tools": [function("")]}, "tools[0].function.name"),
    ({"tools": [function("f", {"type": "objekt"})]}, "tools"),
    ({"tools": [FUNCTION], "tool_choice": "always"}, "tool_choice"),
    (
        {"tools": [FUNCTION], "tool_choice": {"type": "function", "function": {"name": "g"}}},
        "tool_choice.function.name",
    ),
    ({"chat_template_kwargs": {"tools": []}}, "chat_template_kwargs.tools"),
    ({"tool_choice": "required"}, "tool_choice"),
    ({"tool_choice": {"type": "function", "function": {"name": "f"}}}, "tool_choice"),
    ({"response_format": {"type": "xml"}}, "response_format.type"),
    (
        {"response_format": {"type": "json_schema", "json_schema": {}}},
        "response_format.json_schema.schema",
    ),
    ({"response_format": json_schema({"type": "objekt"})}, "response_format.json_schema.schema"),
    (
        {"response_format": json_schema({"type": "object", "propertyNames": {"maxLength": 3}})},
        "response_format.json_schema.schema",
    ),
    ({"echo": True}, "echo"),
    ({"logit_bias": {"5": 1}}, "logit_bias"),
    ({"temprature": 1}, "temprature"),
    ({"temprature": []}, "temprature"),
    ({"content": "Hello"}, "content"),
    ({"messages": []}, "messages"),
    ({"messages": "Hello"}, "messages"),
    ({"messages": None}, "messages"),
    ({"messages": [None]}, "messages[0]"),
    ({"messages": [{"role": "user"}]}, "messages"),
    ({"messages": [*USER, HI, {"role": "user", "content": " "}]}, "messages[2]"),
    ({"messages": [*USER, HI], "continue_final_message": False}, "continue_final_message"),
    ({"messages": [*USER, HI], "add_generation_prompt": True}, "add_generation_prompt"),
    ({"continue_final_message": True}, "continue_final_message"),
    (message(content=None), "messages"),
    (message(content="  "), "messages"),
    (message(content=5), "messages[0].content"),
    (message(role="robot"), "messages[0].role"),
    (message(tool_calls=[{}]), "messages[0].tool_calls[0].function"),
    (message(mood="good"), "messages[0].mood"),
    (message(content=[{"type": "image_url"}]), "messages[0].content[0].type"),
    (message(content=[{"type": "text"}]), "messages[0].content[0].text"),
]


@pytest.mark.parametrize(("fields", "named"), WRONG_FIELDS, ids=str)
def test_a_wrong_field_of_a_chat_is_named(
    client: httpx.Client, fields: dict[str, Any], named: str
) -> None:
    reply = client.post(CHAT, json={"messages": USER, **fields})
    assert error_of(reply)[:2] == (400, named)
    assert named in reply.json()["error"]["message"]


WRONG_TEXTS = [
    ({"prompt": 5}, "prompt"),
    ({"prompt": []}, "prompt"),
    ({"prompt": ["a"] * 13}, "prompt"),
    ({"prompt": ["a", "b"] * 4, "n": 2}, "prompt"),
    ({"prompt": [[]]}, "prompt[0]"),
    ({"prompt": [10**9]}, "prompt"),
    ({"prompt": [[5], [-1]]}, "prompt[1]"),
    ({"prompt": [[5], ["a"]]}, "prompt[1][0]"),
    ({"echo": 0}, "echo"),
    ({"max_tokens": 0}, "max_tokens"),
    ({"echo": False, "max_tokens": 0}, "max_tokens"),
    ({"suffix": "end"}, "suffix"),
    ({"best_of": 2}, "best_of"),
    ({"logprobs": True}, "logprobs"),
]


@pytest.mark.parametrize(("fields", "named"), WRONG_TEXTS, ids=str)
def test_a_wrong_field_of_a_completion_is_named(
    client: httpx.Client, fields: dict[str, Any], named: str
) -> None:
    assert error_of(client.post(TEXT, json={"prompt": "a", **fields}))[:2] == (400, named)


def test_what_asks_for_nothing_is_accepted(client: httpx.Client) -> None:
    nothing = {
        **dict.fromkeys(("tools", "stop", "seed", "stream", "logit_bias", "max_tokens")),
        **{"tool_choice": "none", "response_format": {"type": "text"}, "logit_bias": {}},
        **{"user": "me", "metadata": {"a": 1}, "store": False, "stop": [""], "seed": -1},
        **{"parallel_tool_calls": True, "service_tier": "auto", "modalities": ["text"]},
    }
    reply = client.post(CHAT, json={"messages": USER, **nothing, "max_completion_tokens": 2})
    assert reply.status_code == 200, reply.text


def test_contents_may_be_lists_of_texts_and_a_developer_is_the_system(
    client: httpx.Client,
) -> None:
    parts = [{"type": "text", "text": "Hel"}, {"type": "text", "text": "lo"}]
    answers = [
        client.post(CHAT, json={"messages": messages, "seed": 4, "max_tokens": 9}).json()["choices"]
        for messages in (
            [{"role": "system", "content": "Be kind."}, *USER],
            [{"role": "developer", "content": "Be kind."}, {"role": "user", "content": parts}],
        )
    ]
    assert answers[0] == answers[1]


@pytest.mark.parametrize(
    ("field", "address", "body"),
    [
        ("messages", CHAT, {"messages": [{"role": "user", "content": "Hello there! " * 60}]}),
        ("prompt", TEXT, {"prompt": "Hello there! " * 60}),
        ("prompt", TEXT, {"prompt": [5] * 128}),
    ],
)
def test_a_prompt_that_fills_the_context_is_refused(
    client: httpx.Client, field: str, address: str, body: dict[str, Any]
) -> None:
    assert error_of(client.post(address, json=body)) == (400, field, "context_length_exceeded")


BODIES = {
    "empty": b"",
    "cut": b'{"messages": [{"role"',
    "no object": b"[]",
    "a number": b"5",
    "not UTF-8": b'{"messages": "\xff"}',
    "deep": b'{"messages": ' + b"[" * 5_000 + b"]" * 5_000 + b"}",
    "no number": b'{"temperature": NaN}',
    "a huge number": b'{"seed": ' + b"9" * 5_000 + b"}",
}


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES)
def test_what_is_no_json_object_is_refused(client: httpx.Client, body: bytes) -> None:
    reply = client.post(CHAT, content=body, headers={"Content-Type": "application/json"})
    assert error_of(reply) == (400, "body", "invalid_json")


def test_bodies_are_taken_up_to_the_limit_and_not_beyond(client: httpx.Client) -> None:
    body = json.dumps({"messages": USER, "max_tokens": 1}).encode("utf-8")
    header = {"Content-Type": "application/json"}
    for size, status in ((19_999, 200), (20_000, 200), (20_001, 413), (5_000_000, 413)):
        reply = client.post(CHAT, content=body.ljust(size), headers=header)
        assert reply.status_code == status
        pieces = (body.ljust(size)[at : at + 999] for at in range(0, size, 999))
        reply = client.post(CHAT, content=pieces, headers=header)  # its length is not told before
        assert reply.status_code == status


def test_other_refusals_have_the_same_form(client: httpx.Client) -> None:
    asked = {"messages": USER}
    for path in ("/v1/audio/speech", "/chat/completions", "/v1/v1/models", "/v1"):
        reply = client.post(path, json=asked)
        assert error_of(reply) == (404, None, "unknown_url")
        assert "/v1/chat/completions" in reply.json()["error"]["message"]
    wrong_method = client.put(CHAT, json=asked)
    assert error_of(wrong_method)[0] == 405
    assert wrong_method.headers["allow"] == "POST"
    assert error_of(client.post("/v1/models", json=asked))[0] == 405
    for name in ("gpt-4o-mini", "模型"):
        reply = client.post(CHAT, json={**asked, "model": name})
        assert error_of(reply)[:2] == (404, "model")
        assert "use 'tiny'" in reply.json()["error"]["message"]
    as_text = client.post(CHAT, content="{}", headers={"Content-Type": "text/plain"})
    assert error_of(as_text)[0] == 415


def test_another_name_of_the_machine_is_refused(client: httpx.Client) -> None:
    for host in ("evil.example", "127.0.0.1.evil.example", "0.0.0.0:8000", "internal"):
        reply = client.get("/v1/models", headers={"Host": host})
        assert error_of(reply) == (403, None, "host_not_allowed")
        name = host.partition(":")[0]
        assert f"--allowed_host {name}" in reply.json()["error"]["message"]
    for host in ("[::1]:1", "LOCALHOST", "127.0.0.1:1", "host.docker.internal:8000"):
        assert client.get("/v1/models", headers={"Host": host}).status_code == 200


def test_a_browser_may_call_from_named_origins_only(client: httpx.Client) -> None:
    ask = {
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "content-type",
    }
    private = {"Access-Control-Request-Private-Network": "true"}
    for origin, allowed in (
        ("https://page.example", True),
        ("app://notes", True),
        ("https://evil.example", False),
    ):
        asked = client.options(CHAT, headers={**ask, "Origin": origin})
        near = client.options(CHAT, headers={**ask, **private, "Origin": origin})
        assert (near.status_code == 200) == allowed
        assert not allowed or near.headers["access-control-allow-private-network"] == "true"
        got = client.get("/v1/models", headers={"Origin": origin})
        for reply in (asked, got):
            assert ("access-control-allow-origin" in reply.headers) == allowed


def test_the_page_may_run_its_own_script_alone(client: httpx.Client) -> None:
    reply = client.get("/")
    policy = reply.headers["content-security-policy"]
    assert reply.status_code == 200
    assert "<!DOCTYPE html>" in reply.text
    assert "<style" not in reply.text
    scripts = re.findall(r'<script src="(\w+\.js)" defer blocking="render"></script>', reply.text)
    assert tuple(scripts) == SCRIPTS
    assert sorted(scripts) == sorted(path.name for path in FOLDER.glob("*.js"))
    assert reply.text.count("<script") == len(scripts)
    assert "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'" in policy
    assert "require-trusted-types-for 'script'; trusted-types 'none'" in policy
    assert "unsafe" not in policy


@pytest.mark.parametrize(
    ("path", "kind"),
    [("/", "text/html"), ("/chat.css", "text/css"), ("/chat.js", "text/javascript")],
)
def test_a_browser_keeps_the_page_until_it_changes(
    client: httpx.Client, path: str, kind: str
) -> None:
    whole = client.get(path)
    assert (whole.status_code, whole.headers["cache-control"]) == (200, "no-cache")
    assert whole.headers["content-type"] == f"{kind}; charset=utf-8"
    assert whole.headers["x-content-type-options"] == "nosniff"
    for known in (whole.headers["etag"], f'"old", W/{whole.headers["etag"]}'):
        again = client.get(path, headers={"If-None-Match": known})
        assert (again.status_code, again.content) == (304, b"")
        assert again.headers["etag"] == whole.headers["etag"]
    assert client.get(path, headers={"If-None-Match": '"old"'}).content == whole.content


@pytest.mark.parametrize("path", ["/", "/chat.css", "/chat.js", "/health", "/v1/models"])
def test_whether_it_runs_can_be_asked_without_a_body(client: httpx.Client, path: str) -> None:
    whole, head = client.get(path), client.head(path)
    assert (whole.status_code, head.status_code) == (200, 200)
    assert (head.content, head.headers["content-type"]) == (b"", whole.headers["content-type"])
    assert "head" not in client.get("/openapi.json").json()["paths"].get(path, {})


SAME_PATHS = ["/v1/chat/completions/", "/v1//chat/completions", "//v1/chat/completions//"]


@pytest.mark.parametrize("path", SAME_PATHS)
def test_slashes_too_many_do_not_matter(client: httpx.Client, path: str) -> None:
    reply = client.post(f"{client.base_url}".rstrip("/") + path, json={"messages": USER, "n": 2})
    assert reply.status_code == 200, reply.text
    count = f'method="POST",route="{CHAT}",status="200"'
    assert count in client.get("/metrics/").text


def test_slashes_too_many_do_not_get_past_the_key(
    tokenizer: EtudeTokenizer, model_config: ModelConfig
) -> None:
    with (
        running(tiny_model(tokenizer, model_config), key="right") as server,
        server.client() as client,
    ):
        for path in ("//v1/models", "/v1/models/", "/v1/models//", "//health/../v1/models"):
            reply = httpx.get(server.address + path)
            assert reply.status_code in (401, 404), path
        assert client.get("/health/").status_code == 200


def test_origins_and_hosts_are_written_as_clients_send_them() -> None:
    good = ("https://a.example:8080", "chrome-extension://abc", "app://obsidian.md", "null", "*")
    assert replace(CONFIG, cors_origin=good).problems() == []
    for origin in ("a.example", "https://a.example/", "https://", "https://a.example/page"):
        (problem,) = replace(CONFIG, cors_origin=(origin,)).problems()
        assert f"cors_origin {origin}: write it" in problem
    assert replace(CONFIG, allowed_host=("host.docker.internal", "fe80::1")).problems() == []
    for name in ("http://host", "host:8000", "a/b", ""):
        (problem,) = replace(CONFIG, allowed_host=(name,)).problems()
        assert f"allowed_host {name}: write the name alone" in problem


BODY = b'{"max_tokens": 2, "messages": [{"role": "user", "content": "Hello"}]}'
JSON = {"Content-Type": "application/json"}
SENT = {
    "charset": (BODY, {"Content-Type": "Application/JSON; charset=utf-8"}),
    "expect": (BODY, {**JSON, "Expect": "100-continue"}),
    "byte order mark": (b"\xef\xbb\xbf" + BODY, JSON),
    "identity": (BODY, {**JSON, "Content-Encoding": "identity"}),
}


@pytest.mark.parametrize("sent", SENT.values(), ids=SENT)
def test_bodies_are_taken_as_clients_send_them(
    client: httpx.Client, sent: tuple[bytes, dict[str, str]]
) -> None:
    reply = client.post(CHAT, content=sent[0], headers=sent[1])
    assert reply.status_code == 200, reply.text


NOT_TAKEN = [{"Content-Type": "text/plain"}, {}, {**JSON, "Content-Encoding": "gzip"}]


@pytest.mark.parametrize("headers", NOT_TAKEN, ids=str)
def test_bodies_that_are_not_plain_json_are_refused(
    client: httpx.Client, headers: dict[str, str]
) -> None:
    reply = client.post(CHAT, content=BODY, headers=headers)
    assert error_of(reply) == (415, "body", "unsupported_media_type")


@pytest.mark.parametrize(
    ("escape", "text"),
    [
        (rb"\ud83d", "\ufffd"),
        (rb"\uDE00!", "\ufffd!"),
        (rb"\ud83d\ud83d\ude00", "\ufffd😀"),
        (rb"\ud83d\ude00", "😀"),
        (rb"\\ud83d", "\\ud83d"),
        (rb"\\\ud83d", "\\\ufffd"),
        (rb"\ud83dx", "\ufffdx"),
    ],
)
def test_half_a_character_does_not_end_a_conversation(
    client: httpx.Client, escape: bytes, text: str
) -> None:
    whole = HALF_A_PAIR.sub(whole_or_replaced, b'"%s"' % escape)
    assert json.loads(whole) == text
    body = b'{"max_tokens": 1, "messages": [{"role": "user", "content": "a%s"}]}'
    reply = client.post(CHAT, content=body % escape, headers=JSON)
    assert reply.status_code == 200, reply.text
