"""Several adapters of one base in one engine answer together as each does alone."""

from __future__ import annotations

from pathlib import Path
from typing import cast

import httpx
import pytest
import torch

from config import LoraConfig, ModelConfig, SamplingConfig, UserError
from inference.engine.answers import GenerationRequest
from inference.engine.engine import Engine
from inference.engine.loading import load_adapters, load_model
from inference.settings import ServeConfig
from model.adapters import adapter_weights, add_adapter, merge_adapter, sharing_copy
from model.directory.adapter_files import adapter_files
from model.directory.pretrained import base_sha256, load_pretrained
from model.directory.storage import json_writer, update_directory
from model.tokenizer import EtudeTokenizer
from model.transformer import Etude
from tests.inference.http_server import running

KINDS = {
    "one": LoraConfig(lora_rank=4),
    "two": LoraConfig(lora_rank=2, use_dora=True, lora_targets=("all", "lm_head")),
}


def with_adapter(model: Etude, lora: LoraConfig, seed: int) -> Etude:
    """The model with an adapter that does something, on the same weights."""
    adapted, generator = sharing_copy(model), torch.Generator().manual_seed(seed)
    add_adapter(adapted, lora, generator)
    with torch.no_grad():
        for weight in adapter_weights(adapted).values():
            weight.add_(torch.randn(weight.shape, generator=generator) * 0.2)
    return adapted


@pytest.fixture
def adapted(model: Etude) -> dict[str, Etude]:
    return {name: with_adapter(model, lora, n) for n, (name, lora) in enumerate(KINDS.items())}


def requests(adapter: str | None) -> list[GenerationRequest]:
    """Greedy and sampled ones, short and long, some with the same beginning."""
    prompts = [[5, 9], [7] * 40, [7] * 38 + [8, 9], list(range(20, 50))]
    return [
        GenerationRequest(
            prompt,
            SamplingConfig(temperature=0.9 * (n % 2), max_tokens=25, seed=n),
            (),
            top_logprobs=2,
            adapter=adapter,
        )
        for n, prompt in enumerate(prompts)
    ]


def ids_of(engine: Engine, *asked: GenerationRequest) -> list[list[int]]:
    outputs = [engine.submit(request) for request in asked]
    while engine.busy:
        engine.step()
    return [output.ids for output in outputs]


@pytest.mark.parametrize("slots", [2, 5, 12])
def test_adapters_and_base_mixed_answer_as_alone(
    model: Etude, adapted: dict[str, Etude], native: bool, slots: int
) -> None:
    mixed = [r for group in zip(*map(requests, (None, *adapted)), strict=True) for r in group]
    engine = Engine(model, slots=slots, native=native, adapted=adapted)
    found = ids_of(engine, *mixed) + ids_of(engine, *reversed(mixed))
    alone = []
    for request in mixed:
        other = adapted[request.adapter] if request.adapter else model
        single = Engine(other, slots=1, native=native)
        alone += ids_of(single, GenerationRequest(request.prompt, request.sampling, ()))
    assert found == alone + alone[::-1]
    assert len({tuple(ids) for ids in alone}) > len(alone) * 2 // 3  # each says something else


def test_a_prompt_read_with_one_adapter_is_not_continued_with_another(
    model: Etude, adapted: dict[str, Etude], native: bool
) -> None:
    engine = Engine(model, slots=3, native=native, adapted=adapted)
    greedy = SamplingConfig(temperature=0, max_tokens=2)
    for adapter, cached in ((None, 0), ("one", 0), ("one", 39), ("two", 0), (None, 39)):
        output = engine.submit(GenerationRequest([7] * 40, greedy, (), adapter=adapter))
        while engine.busy:
            engine.step()
        assert output.cached_tokens == cached


@pytest.mark.usefixtures("compiled")
def test_the_native_pass_says_what_the_merged_model_says(
    model: Etude, adapted: dict[str, Etude]
) -> None:
    engine = Engine(model, slots=2, adapted=adapted)
    (request,) = requests("two")[:1]
    output = engine.submit(request)
    while engine.busy:
        engine.step()
    merged = adapted["two"]
    merge_adapter(merged)
    with torch.no_grad():
        logits = merged(torch.tensor([[*request.prompt, *output.ids]]))[0].log_softmax(-1)
    for place, token in enumerate(output.tokens):
        expected = float(logits[len(request.prompt) + place - 1, token.id])
        assert token.logprob == pytest.approx(expected, abs=1e-4)


def save_adapters(model_dir: Path) -> list[Path]:
    """Two adapters of a model, beside it."""
    model, _ = load_pretrained(model_dir)
    directories = []
    for number, (name, lora) in enumerate(KINDS.items()):
        directory = model_dir.with_name(name)
        weights = adapter_weights(with_adapter(model, lora, number))
        files = adapter_files(lora, weights, model_dir, directory)
        summary = json_writer({"base_sha256": base_sha256(model)})
        update_directory(directory, {**files, "training_summary.json": summary})
        directories.append(directory)
    return directories


def ask(client: httpx.Client, **fields: object) -> dict[str, object]:
    body = {"prompt": [3, 4, 5], "max_tokens": 12, "temperature": 0, **fields}
    answer = client.post("/v1/completions", json=body).json()
    return cast(dict[str, object], answer)


def test_a_server_chooses_the_adapter_by_the_models_name(model_dir: Path) -> None:
    directories = save_adapters(model_dir)
    first, *others = load_adapters(model_dir, directories, "cpu", slots=4)
    with running(first, others=others) as server, server.client() as client:
        names = [model["id"] for model in client.get("/v1/models").json()["data"]]
        assert names == ["one", "two", "etude_sft_model"]
        assert client.get("/v1/models/two").json()["id"] == "two"
        said = {name: ask(client, model=name) for name in names}
        texts = [said[name]["choices"][0]["text"] for name in names]  # type: ignore[index]
        assert [said[name]["model"] for name in names] == names
        assert len(set(texts)) == 3
        assert ask(client)["model"] == "one"
        assert ask(client)["choices"] == said["one"]["choices"]
        refused = ask(client, model="three")["error"]["message"]  # type: ignore[index]
        assert "use 'one' or 'two' or 'etude_sft_model'" in refused
        message = [{"role": "user", "content": "Hello"}]
        chat = client.post("/v1/chat/completions", json={"model": "two", "messages": message})
        assert (chat.status_code, chat.json()["model"]) == (200, "two")  # its base is a chat model


@pytest.mark.parametrize("quantize", ["none", "int8"])
def test_one_adapter_is_merged_when_it_is_loaded(model_dir: Path, quantize: str) -> None:
    directory = save_adapters(model_dir)[1]
    by_flag = load_model(model_dir, "cpu", 1, quantize, directory)  # type: ignore[arg-type]
    by_itself = load_model(directory, "cpu", 1, quantize)  # type: ignore[arg-type]
    ids = torch.tensor([[5, 6, 7]])
    assert torch.equal(by_flag.engine.model(ids), by_itself.engine.model(ids))
    assert not torch.equal(by_flag.engine.model(ids), load_pretrained(model_dir)[0](ids))
    assert by_flag.name == by_itself.name == "two"


def test_names_must_differ(model_dir: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="two models are called x"):
        load_adapters(model_dir, [tmp_path / "a" / "x", tmp_path / "b" / "x"], "cpu")
    config = ServeConfig(adapter=(Path("a/x"),), model_name="x")
    assert config.problems() == ["model_name x is the name of an adapter: choose another"]


def test_an_adapter_of_another_base_is_not_served(
    model_dir: Path, tmp_path: Path, model_config: ModelConfig, tokenizer: EtudeTokenizer
) -> None:
    directories = save_adapters(model_dir)
    summary = directories[0] / "training_summary.json"
    summary.write_text('{"base_sha256": "0"}', encoding="utf-8")
    (directories[0] / "MANIFEST.json").unlink()
    with pytest.raises(UserError, match="an adapter of other weights than those of"):
        load_adapters(model_dir, directories, "cpu")
