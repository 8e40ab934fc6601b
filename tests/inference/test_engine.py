"""The engine continues prompts one by one and together."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from config import SamplingConfig, UserError
from inference.engine import Decoding, generate, generate_batch
from model.transformer import Etude

GREEDY = SamplingConfig(temperature=0.0, max_tokens=20)
PROMPTS = [[5], [7, 8, 9, 10, 11, 12, 13], [300, 20, 1], [40] * 30, [5], [6, 7]]


def greedy_by_hand(model: Etude, prompt: list[int], count: int) -> list[int]:
    """The likeliest tokens by the full forward pass, without a cache."""
    ids = list(prompt)
    for _ in range(count):
        with torch.no_grad():
            ids.append(int(model(torch.tensor([ids]))[0, -1].argmax()))
    return ids[len(prompt) :]


def test_greedy_equals_argmax_of_the_full_forward(model: Etude) -> None:
    for prompt in PROMPTS:
        assert list(generate(model, prompt, GREEDY, ())) == greedy_by_hand(model, prompt, 20)


def test_repetition_penalty_counts_prompt_and_text(model: Etude) -> None:
    prompt = [5, 6, 7]
    ids = list(generate(model, prompt, replace(GREEDY, repetition_penalty=100.0), ()))
    assert len({*prompt, *ids}) == 3 + 20  # nothing twice


@pytest.mark.parametrize("temperature", [0.0, 1.0])
@pytest.mark.parametrize("penalty", [1.0, 1.3])
@pytest.mark.parametrize("batch_size", [1, 4, 64])
def test_batch_equals_single(
    model: Etude, temperature: float, penalty: float, batch_size: int
) -> None:
    sampling = SamplingConfig(
        temperature=temperature, repetition_penalty=penalty, max_tokens=40, seed=11
    )
    streams = [
        generate(model, p, replace(sampling, seed=11 + i), stop_ids=range(0, 30))
        for i, p in enumerate(PROMPTS)
    ]
    alone = [(list(stream), stream.finish_reason) for stream in streams]
    together = generate_batch(model, PROMPTS, sampling, range(0, 30), batch_size)
    assert [(result.ids, result.finish_reason) for result in together] == alone
    if temperature:  # rows must have ended at different times, or nothing was dropped
        assert len({len(result.ids) for result in together}) > 2


def test_stop_token_ends_the_text_and_is_left_out(model: Etude) -> None:
    full = greedy_by_hand(model, [5], 20)
    stop = full[7]
    stream = generate(model, [5], GREEDY, [stop])
    assert list(stream) == full[: full.index(stop)]
    assert stream.finish_reason == "stop"
    assert next(stream, None) is None


def test_max_tokens_ends_the_text(model: Etude) -> None:
    stream = generate(model, [5], replace(GREEDY, max_tokens=3), ())
    assert next(stream) >= 0
    assert stream.finish_reason is None
    assert len(list(stream)) == 2
    assert stream.finish_reason == "length"


@pytest.mark.parametrize("length", [100, 126, 127])
def test_text_ends_at_the_edge_of_the_context(model: Etude, length: int) -> None:
    long, short = [9] * length, [5, 6]
    stream = generate(model, long, replace(GREEDY, max_tokens=1000), ())
    assert len(list(stream)) == 128 - length
    assert stream.finish_reason == "length"
    results = generate_batch(model, [short, long], replace(GREEDY, max_tokens=1000), ())
    assert [len(result.ids) for result in results] == [126, 128 - length]


@pytest.mark.parametrize("length", [128, 200])
def test_prompt_that_fills_the_context_is_refused(model: Etude, length: int) -> None:
    with pytest.raises(UserError, match=f"the prompt has {length} tokens, but .* 128: shorten"):
        generate_batch(model, [[5], [9] * length], GREEDY, ())


def test_same_seed_same_text(model: Etude) -> None:
    sampling = SamplingConfig(temperature=1.0, max_tokens=30, seed=3)
    first, second = (list(generate(model, [5], sampling, ())) for _ in range(2))
    assert first == second
    assert list(generate(model, [5], replace(sampling, seed=4), ())) != first


def test_equal_prompts_in_a_batch_are_continued_differently(model: Etude) -> None:
    sampling = SamplingConfig(temperature=1.0, top_k=0, top_p=1, max_tokens=30, seed=3)
    first, second = generate_batch(model, [[5], [5]], sampling, ())
    assert first.ids != second.ids


def test_no_prompts_no_results(model: Etude) -> None:
    assert generate_batch(model, [], GREEDY, ()) == []


def test_only_last_positions_reach_the_output_layer(model: Etude) -> None:
    rows: list[int] = []
    model.lm_head.register_forward_hook(lambda _, args, __: rows.append(args[0].numel() // 32))
    Decoding(model, [[5] * 100, [6] * 50], GREEDY, ()).finish()
    assert rows == [2] * 20


def test_generating_leaves_gradients_on_for_the_caller(model: Etude) -> None:
    stream = generate(model, [5], GREEDY, ())
    next(stream)
    assert not torch.is_inference_mode_enabled()
    assert model(torch.tensor([[1, 2]])).requires_grad
