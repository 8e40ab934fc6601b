"""R16: a server never answers wrongly. Many clients at once, half of them streaming, get what an
engine of its own says to each request alone."""

from __future__ import annotations

import asyncio
import json
import random
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import httpx
import pytest

from config import ModelConfig, QuantizeName, SamplingConfig
from inference.engine.answers import GenerationRequest
from inference.engine.loading import LoadedModel, load_model
from inference.engine.native import LIBRARY
from model.chat import render_prompt
from model.tokenizer import EtudeTokenizer
from tests.reliability.server_process import ServerProcess, save_tiny, serving
from tests.reliability.trials import Trials

pytestmark = [
    pytest.mark.full,
    pytest.mark.promise("R16"),
    pytest.mark.skipif(sys.platform != "linux", reason="reads the memory of a process in /proc"),
]

WORDS = ("Hello", "你好", "fox", "🦊", "river", "的意思", "3 + 8", "<|im_end|>", "naïve", "世界！")
CHAT, TEXT = "/v1/chat/completions", "/v1/completions"

Said = list[tuple[int, str, str]]
"""Of each answer to a request: its index, its text and what ended it."""


@dataclass(frozen=True)
class Question:
    """A request, and what must come back."""

    address: str
    body: dict[str, Any]
    expected: Said


@dataclass(frozen=True)
class Size:
    """How much is asked."""

    questions: int
    longest: int
    """Tokens of an answer."""
    clients: int
    seconds: int
    growth: float = 0.05
    """Share of its memory that the server may grow by, once it is warm."""


def draw_body(rng: random.Random, longest: int = 50) -> tuple[str, dict[str, Any]]:
    """A request of any kind whose answer, of `longest` tokens at most, is determined."""
    body: dict[str, Any] = {"max_tokens": rng.randint(1, longest), "seed": rng.randrange(2**31)}
    body["temperature"] = rng.choice((0, 0.7, 1.3))
    for name, values in (
        ("top_p", (1.0, 0.5)),
        ("top_k", (0, 5)),
        ("min_p", (0.1,)),
        ("presence_penalty", (1.5,)),
        ("frequency_penalty", (-0.5, 0.5)),
        ("repetition_penalty", (1.3,)),
        ("stop", ("e", ["的", "ar"])),
        ("n", (2, 3)),
    ):
        if rng.random() < 0.25:
            body[name] = rng.choice(values)
    texts = [" ".join(rng.choices(WORDS, k=rng.randint(1, 9))) for _ in range(rng.choice((1, 3)))]
    if rng.random() < 0.3:
        return TEXT, {**body, "prompt": texts[0]}
    roles = ("user", "assistant", "user")
    messages = [{"role": r, "content": t} for r, t in zip(roles, texts, strict=False)]
    if rng.random() < 0.5:
        messages.insert(0, {"role": "system", "content": "You are kind."})
    return CHAT, {**body, "messages": messages}


def ask_alone(model: LoadedModel, body: dict[str, Any]) -> Said:
    """What an engine says that has nothing else to do, and nothing in its cache."""
    tokenizer, engine = model.tokenizer, model.engine
    if "messages" in body:
        prompt = render_prompt(tokenizer, body["messages"])
    else:
        prompt = model.render_text(body["prompt"])
    names = set(SamplingConfig.__dataclass_fields__)
    sampling = SamplingConfig(**{name: body[name] for name in names & set(body)})
    stop = body.get("stop", ())
    stop = (stop,) if isinstance(stop, str) else tuple(stop)
    said = []
    for index in range(body.get("n", 1)):
        engine.slots[0].cached = []
        seeded = replace(sampling, seed=body["seed"] + index)
        answer = engine.submit(GenerationRequest(prompt, seeded, model.stop_ids, stop))
        while engine.busy:
            engine.step()
        said.append((index, answer.text, str(answer.finish_reason)))
    return said


async def ask_server(client: httpx.AsyncClient, question: Question, stream: bool) -> Said:
    """What the server says."""
    body = {**question.body, "stream": stream}
    if not stream:
        reply = await client.post(question.address, json=body)
        assert reply.status_code == 200, reply.text
        return [(c["index"], text_of(c), c["finish_reason"]) for c in reply.json()["choices"]]
    texts: dict[int, str] = {}
    endings: dict[int, str] = {}
    async with client.stream("POST", question.address, json=body) as reply:
        assert reply.status_code == 200
        lines = [line[6:] async for line in reply.aiter_lines() if line]
    assert lines.pop() == "[DONE]"
    for choice in (choice for line in lines for choice in json.loads(line)["choices"]):
        texts[choice["index"]] = texts.get(choice["index"], "") + text_of(choice)
        if choice["finish_reason"]:
            endings[choice["index"]] = choice["finish_reason"]
    return [(index, texts[index], endings[index]) for index in sorted(texts)]


def text_of(choice: dict[str, Any]) -> str:
    """The text of an answer or of a piece of one."""
    if "text" in choice:
        return choice["text"]
    return (choice.get("message") or choice["delta"]).get("content") or ""


@dataclass
class Visits:
    """What a client has seen."""

    count: int = 0
    wrong: str = ""


async def visit(
    server: ServerProcess, questions: Sequence[Question], rng: random.Random, until: float
) -> Visits:
    """Asks one question after the other; ends at the first wrong answer."""
    visits = Visits()
    async with httpx.AsyncClient(base_url=server.address, timeout=120) as client:
        while time.monotonic() < until and not visits.wrong:
            question, stream = rng.choice(questions), bool(visits.count % 2)
            try:
                said = await ask_server(client, question, stream)
            except (AssertionError, httpx.HTTPError) as error:
                visits.wrong = f"{question.body}: {error!r}"
                break
            if said != question.expected:
                visits.wrong = f"{question.body}: {said} instead of {question.expected}"
            visits.count += 1
    return visits


async def visit_all(
    server: ServerProcess, questions: Sequence[Question], rngs: Sequence[random.Random], s: float
) -> list[Visits]:
    """Many clients at once, for some seconds."""
    until = time.monotonic() + s
    return await asyncio.gather(*(visit(server, questions, rng, until) for rng in rngs))


def check_answers(
    trials: Trials, directory: Path, size: Size, quantize: QuantizeName = "none"
) -> None:
    """Lets clients ask a server of a model, and compares."""
    model = load_model(directory, "cpu", quantize=quantize)
    if not LIBRARY.wait():
        pytest.skip("there is no C++ compiler: texts could differ where two tokens are as likely")
    rng = random.Random(trials.book.settings.seed)
    bodies = [draw_body(rng, size.longest) for _ in range(size.questions)]
    questions = [Question(where, body, ask_alone(model, body)) for where, body in bodies]
    del model
    drawn = dict(trials.draws(size.clients))
    with serving(directory, "--max_queue", "1000", "--quantize", quantize) as server:
        rngs = list(drawn.values())
        warm = asyncio.run(visit_all(server, questions, rngs, 0.2 * size.seconds))
        before = server.memory()
        all_visits = asyncio.run(visit_all(server, questions, rngs, size.seconds))
        growth = server.memory() / before - 1
        failures = httpx.get(f"{server.address}/metrics").text.count('status="5')
    assert not any(visits.wrong for visits in warm), warm
    for seed, visits in zip(drawn, all_visits, strict=True):
        passed = visits.count > 0 and not visits.wrong and not failures and growth < size.growth
        facts = {"answers": visits.count, "wrong": visits.wrong, "growth": round(growth, 4)}
        trials.record(seed, passed, **facts)
    trials.verdict()


def test_every_answer_is_the_one_an_engine_gives_alone(
    tmp_path: Path, tokenizer: EtudeTokenizer, model_config: ModelConfig, trials: Trials
) -> None:
    save_tiny(tmp_path / "tiny", tokenizer, model_config, context=256, endless=False)
    size = Size(trials.size(30, 400), 50, trials.size(8, 64), trials.size(5, 600))
    check_answers(trials, tmp_path / "tiny", size)


@pytest.mark.parametrize("quantize", ["none", "int8"])
def test_a_real_model_answers_many_as_each_alone(
    smollm2: Path, quantize: QuantizeName, trials: Trials
) -> None:
    """Prompts come back, so that many are cached, in another slot than before. Slots that are used
    for the first time take memory for their keys and values."""
    size = Size(trials.size(12, 60), 16, trials.size(6, 32), trials.size(10, 300), growth=0.2)
    check_answers(trials, smollm2, size, quantize)
