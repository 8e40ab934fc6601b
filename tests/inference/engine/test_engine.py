"""The engine answers requests one by one and together, and each as if it were alone."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch

from config import SamplingConfig, UserError
from inference.engine.answers import GenerationOutput, GenerationRequest
from inference.engine.engine import Engine, generate_batch
from model.tokenizer import EtudeTokenizer
from model.transformer import Etude

GREEDY = SamplingConfig(temperature=0.0, max_tokens=20)
PROMPTS = [[5], [7, 8, 9, 10, 11, 12, 13], [300, 20, 1], [40] * 30, [5], [6, 7]]


MakeEngine = Callable[..., Engine]


@pytest.fixture
def make_engine(model: Etude, tokenizer: EtudeTokenizer, native: bool) -> MakeEngine:
    def make(slots: int = 8) -> Engine:
        return Engine(model, tokenizer, slots=slots, native=native)

    return make


def finish(engine: Engine, *requests: GenerationRequest) -> list[GenerationOutput]:
    answers = [engine.submit(request) for request in requests]
    while engine.busy:
        engine.step()
    return answers


def greedy_by_hand(model: Etude, prompt: list[int], count: int) -> list[int]:
    """The likeliest tokens by the full forward pass, without a cache."""
    ids = list(prompt)
    for _ in range(count):
        with torch.no_grad():
            ids.append(int(model(torch.tensor([ids]))[0, -1].argmax()))
    return ids[len(prompt) :]


def test_greedy_equals_argmax_of_the_full_forward(model: Etude, make_engine: MakeEngine) -> None:
    for prompt in PROMPTS:
        (answer,) = finish(make_engine(), GenerationRequest(prompt, GREEDY, ()))
        assert answer.ids == greedy_by_hand(model, prompt, 20)


def test_repetition_penalty_counts_prompt_and_text(make_engine: MakeEngine) -> None:
    penalised = replace(GREEDY, repetition_penalty=100.0)
    (answer,) = finish(make_engine(), GenerationRequest([5, 6, 7], penalised, ()))
    assert len({5, 6, 7, *answer.ids}) == 3 + 20  # nothing twice


def test_frequency_penalty_counts_the_answer_alone(model: Etude, make_engine: MakeEngine) -> None:
    first = greedy_by_hand(model, [5], 1)
    penalised = replace(GREEDY, presence_penalty=100.0)
    (answer,) = finish(make_engine(), GenerationRequest([5, *first], penalised, ()))
    assert len(set(answer.ids)) == 20
    assert answer.ids[0] == greedy_by_hand(model, [5, *first], 1)[0]


@pytest.mark.parametrize("temperature", [0.0, 1.0])
@pytest.mark.parametrize("penalty", [1.0, 1.3])
@pytest.mark.parametrize("batch_size", [1, 4, 64])
def test_batch_equals_single(
    model: Etude, native: bool, temperature: float, penalty: float, batch_size: int
) -> None:
    sampling = SamplingConfig(
        temperature=temperature, repetition_penalty=penalty, max_tokens=40, seed=11
    )
    alone = []
    for number, prompt in enumerate(PROMPTS):
        seeded = replace(sampling, seed=11 + number)
        alone += generate_batch(model, [prompt], seeded, range(0, 30), native=native)
    together = generate_batch(model, PROMPTS, sampling, range(0, 30), batch_size, native)
    assert together == alone
    if temperature:  # rows must have ended at different times, or none made way for another
        assert len({len(result.ids) for result in together}) > 2


def test_requests_that_come_and_go_do_not_disturb_each_other(
    make_engine: MakeEngine, native: bool
) -> None:
    draw = torch.Generator().manual_seed(2)
    requests = []
    for number in range(30):
        length = int(torch.randint(1, 90, (1,), generator=draw))
        prompt = torch.randint(400, (length,), generator=draw).tolist()
        sampling = SamplingConfig(
            temperature=1.0, max_tokens=1 + number % 25, seed=number, top_k=number % 3 * 20
        )
        requests.append(GenerationRequest(prompt, sampling, range(3)))
    alone = [finish(make_engine(slots=1), request)[0] for request in requests]
    engine, answers = make_engine(slots=4), []
    for request in requests:
        answers.append(engine.submit(request))
        engine.step()
    while engine.busy:
        engine.step()
    assert [a.ids for a in answers] == [a.ids for a in alone]
    assert [a.text for a in answers] == [a.text for a in alone]
    assert [a.finish_reason for a in answers] == [a.finish_reason for a in alone]


def test_the_next_turn_reads_only_what_is_new(model: Etude, make_engine: MakeEngine) -> None:
    engine = make_engine(slots=2)
    (first,) = finish(engine, GenerationRequest([9] * 30, GREEDY, ()))
    assert first.cached_tokens == 0
    prompt = [*[9] * 30, *first.ids, 7, 8]
    (second,) = finish(engine, GenerationRequest(prompt, GREEDY, ()))
    assert second.cached_tokens >= 30 + 19
    assert second.ids == greedy_by_hand(model, prompt, 20)


def test_equal_prompts_are_read_once(make_engine: MakeEngine) -> None:
    sampling = SamplingConfig(temperature=1.0, max_tokens=10)
    requests = [GenerationRequest([7] * 50, replace(sampling, seed=n), ()) for n in range(4)]
    together = finish(make_engine(), *requests)
    assert [answer.cached_tokens for answer in together] == [0, 49, 49, 49]
    assert len({tuple(answer.ids) for answer in together}) == 4
    alone = [finish(make_engine(), request)[0].ids for request in requests]
    assert [answer.ids for answer in together] == alone


def test_a_long_prompt_does_not_hold_up_the_others(
    make_engine: MakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("inference.engine.engine.PREFILL_TOKENS", 16)
    engine = make_engine()
    quick = engine.submit(GenerationRequest([5], GREEDY, ()))
    engine.step()
    slow = engine.submit(GenerationRequest([9] * 80, GREEDY, ()))
    for step in range(1, 6):
        engine.step()
        assert len(quick.tokens) == step + 1
        assert len(slow.tokens) == (step == 5)
    while engine.busy:
        engine.step()
    assert slow.ids == finish(make_engine(), GenerationRequest([9] * 80, GREEDY, ()))[0].ids


def test_a_cancelled_answer_frees_its_slot(make_engine: MakeEngine) -> None:
    engine = make_engine(slots=1)
    running = engine.submit(GenerationRequest([5], GREEDY, ()))
    waiting = engine.submit(GenerationRequest([6], GREEDY, ()))
    other = engine.submit(GenerationRequest([7], GREEDY, ()))
    engine.step()
    assert (engine.running, len(engine.queue)) == (1, 2)
    running.cancel()
    waiting.cancel()
    changed = engine.step()
    assert changed == [waiting, running, other]
    assert running.finish_reason == waiting.finish_reason == "cancelled"
    assert len(running.tokens) == 1
    assert other.tokens


def test_stop_token_ends_the_text_and_is_left_out(model: Etude, make_engine: MakeEngine) -> None:
    full = greedy_by_hand(model, [5], 20)
    stop = full[7]
    (answer,) = finish(make_engine(), GenerationRequest([5], GREEDY, [stop]))
    assert answer.ids == full[: full.index(stop)]
    assert answer.finish_reason == "stop"


def test_stop_text_ends_the_text_and_is_left_out(make_engine: MakeEngine) -> None:
    sampling = SamplingConfig(temperature=1.0, max_tokens=60, seed=5)
    (full,) = finish(make_engine(), GenerationRequest([5], sampling, ()))
    stop = full.text[20:24]
    (answer,) = finish(make_engine(), GenerationRequest([5], sampling, (), stop=(stop, "never")))
    assert answer.text == full.text[: full.text.index(stop)]
    assert answer.finish_reason == "stop"
    assert len(answer.tokens) < 60


def test_max_tokens_ends_the_text(make_engine: MakeEngine) -> None:
    (answer,) = finish(make_engine(), GenerationRequest([5], replace(GREEDY, max_tokens=3), ()))
    assert len(answer.tokens) == 3
    assert answer.finish_reason == "length"


@pytest.mark.parametrize("length", [100, 126, 127])
def test_text_ends_at_the_edge_of_the_context(
    model: Etude, make_engine: MakeEngine, length: int
) -> None:
    endless = replace(GREEDY, max_tokens=1000)
    engine = make_engine(slots=2)
    long, short = finish(
        engine, GenerationRequest([9] * length, endless, ()), GenerationRequest([5, 6], endless, ())
    )
    assert len(long.ids) == 128 - length
    assert long.finish_reason == "length"
    assert len(short.ids) == 126
    assert long.ids == greedy_by_hand(model, [9] * length, 128 - length)
    (again,) = finish(
        engine, GenerationRequest([9] * length, endless, ())
    )  # from what the full slot holds
    assert again.ids == long.ids


@pytest.mark.parametrize("length", [128, 200])
def test_prompt_that_fills_the_context_is_refused(model: Etude, length: int) -> None:
    with pytest.raises(UserError, match=f"has {length} tokens, but .* 128 tokens: shorten"):
        generate_batch(model, [[5], [9] * length], GREEDY, ())


def test_same_seed_same_text(model: Etude, native: bool) -> None:
    sampling = SamplingConfig(temperature=1.0, max_tokens=30, seed=3)
    first, second = (generate_batch(model, [[5]], sampling, (), native=native) for _ in range(2))
    assert first == second
    assert generate_batch(model, [[5]], replace(sampling, seed=4), (), native=native) != first


def test_equal_prompts_in_a_batch_are_continued_differently(model: Etude) -> None:
    sampling = SamplingConfig(temperature=1.0, top_k=0, top_p=1, max_tokens=30, seed=3)
    first, second = generate_batch(model, [[5], [5]], sampling, ())
    assert first.ids != second.ids


def test_no_prompts_no_results(model: Etude) -> None:
    assert generate_batch(model, [], GREEDY, ()) == []


def test_log_probabilities_are_those_of_the_full_forward(
    model: Etude, make_engine: MakeEngine
) -> None:
    sampling = SamplingConfig(temperature=1.0, max_tokens=10, seed=1)
    (answer,) = finish(make_engine(), GenerationRequest([5, 6], sampling, (), top_logprobs=3))
    with torch.no_grad():
        logits = model(torch.tensor([[5, 6, *answer.ids]]))[0, 1:-1]
    for token, expected in zip(answer.tokens, logits.log_softmax(-1), strict=True):
        assert token.logprob == pytest.approx(float(expected[token.id]), abs=1e-4)
        assert [i for i, _ in token.alternatives] == expected.topk(3).indices.tolist()
    (plain,) = finish(make_engine(), GenerationRequest([5, 6], sampling, ()))
    assert plain.ids == answer.ids
    assert plain.tokens[0].logprob is None


def test_only_wanted_positions_reach_the_output_layer(model: Etude) -> None:
    rows: list[int] = []
    model.lm_head.register_forward_hook(lambda _, args, __: rows.append(args[0].numel() // 32))
    generate_batch(model, [[5] * 100, [6] * 50], GREEDY, (), native=False)
    assert rows == [2] * 20


@pytest.mark.usefixtures("compiled")
def test_drafts_change_the_number_of_steps_and_nothing_else(
    model: Etude, tokenizer: EtudeTokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    prompts = [[5], [9] * 20, list(range(30, 50)) * 2, [7, 8] * 10]
    steps: list[int] = []
    found: list[list[object]] = []
    for most in (6, 0):
        monkeypatch.setattr("inference.engine.engine.DRAFT_TOKENS", most)
        steps.append(0)
        found.append([])
        for prompt, length in itertools.product(prompts, (1, 2, 60)):
            engine = Engine(model, tokenizer, slots=2)
            greedy = replace(GREEDY, max_tokens=length)
            answer = engine.submit(GenerationRequest(prompt, greedy, ()))
            engine.step()
            while engine.busy:
                engine.step()
                steps[-1] += 1
            turn = [*prompt, *answer.ids, 3]
            found[-1].append((answer.ids, answer.text))
            found[-1].append(finish(engine, GenerationRequest(turn, greedy, ()))[0].ids)
    assert found[0] == found[1]
    assert steps[0] < 0.7 * steps[1]


def test_generating_leaves_gradients_on_for_the_caller(model: Etude) -> None:
    generate_batch(model, [[5]], GREEDY, ())
    assert not torch.is_inference_mode_enabled()
    assert model(torch.tensor([[1, 2]])).requires_grad


@pytest.mark.parametrize("length", [1, 2, 17, 100])
def test_prompt_logprobs_are_those_of_the_full_forward(
    length: int,
    model: Etude,
    tokenizer: EtudeTokenizer,
    native: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("inference.engine.engine.PREFILL_TOKENS", 16)  # a prompt in pieces
    prompt = [(7 * place) % 300 + 3 for place in range(length)]
    engine = Engine(model, tokenizer, native=native)
    requests = [
        GenerationRequest(prompt, replace(GREEDY, max_tokens=2), (), prompt_logprobs=2),
        GenerationRequest(prompt, GREEDY, (), top_logprobs=0),
        GenerationRequest([9, *prompt], GREEDY, ()),
    ]
    # The second time, all of the prompt is in the cache.
    for _ in range(2):
        output, other, _ = finish(engine, *requests)
        assert output.ids == other.ids[:2]
        assert [token.id for token in output.prompt] == prompt
        assert output.prompt[0].logprob is None
        with torch.no_grad():
            expected = model(torch.tensor([prompt]))[0].log_softmax(-1)  # (ids, vocab)
        for place, token in enumerate(output.prompt[1:]):
            assert token.logprob == pytest.approx(float(expected[place, token.id]), abs=1e-4)
            assert token.alternatives[0][1] == pytest.approx(float(expected[place].max()), abs=1e-4)
            assert len(token.alternatives) == 2
