"""The network is transformers' Llama, and its cache changes nothing."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from config import ModelConfig, RopeScaling, SamplingConfig
from inference.engine.engine import generate_batch
from model.directory.config_json import COMMON, scaling_fields
from model.directory.pretrained import weights_of
from model.kv_cache import KVCache
from model.transformer import Etude

START = ModelConfig(
    vocab_size=320,
    hidden_size=48,
    intermediate_size=100,
    num_hidden_layers=2,
    num_attention_heads=4,
    num_key_value_heads=4,
    max_position_embeddings=300,
)
SHAPES = [
    replace(START, num_key_value_heads=kv, tie_word_embeddings=tied, rope_theta=theta)
    for kv in (1, 2, 4)
    for tied, theta in ((True, 10_000.0), (False, 10_000.0), (True, 500_000.0))
] + [
    replace(START, vocab_size=331, num_hidden_layers=3),
    replace(START, vocab_size=257, num_key_value_heads=1, tie_word_embeddings=False),
    replace(START, rope_theta=100.0, rms_norm_eps=1e-6, num_key_value_heads=2),
    replace(START, hidden_size=24, num_attention_heads=1, num_key_value_heads=1),
    replace(START, hidden_size=12, num_attention_heads=6, num_key_value_heads=2),
    *(
        replace(START, hidden_size=128, num_key_value_heads=2, rope_scaling=scaling)
        for scaling in (
            RopeScaling("linear", 3.0),
            RopeScaling("yarn", 4.0, 64, beta_fast=8.0, beta_slow=0.5),
            RopeScaling("llama3", 8.0, 64, low_freq_factor=0.5, high_freq_factor=6.0),
        )
    ),
]


def make_pair(config: ModelConfig) -> tuple[Etude, LlamaForCausalLM]:
    """An Etude with random weights and transformers' Llama with the same."""
    model = Etude(config)
    model.initialize(torch.Generator().manual_seed(7))
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.dim() == 2:  # strong layers: a strong embedding repeats its own token
                parameter.mul_(15 if "layers" in name else 2)
            else:  # norms that are all ones would hide a norm left out
                parameter.add_(0.3 * torch.randn(parameter.shape, generator=seeded(1)))
    fields = {name: getattr(config, name) for name in COMMON}
    rope = {"rope_theta": fields.pop("rope_theta"), **scaling_fields(config.rope_scaling)}
    llama = LlamaForCausalLM(LlamaConfig(**fields, rope_parameters=rope, attention_bias=False))
    missing, unexpected = llama.load_state_dict(weights_of(model), strict=False)
    assert set(missing) <= {"lm_head.weight"}
    assert unexpected == []
    llama.tie_weights()
    return model.eval(), llama.train(False)


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("config", SHAPES, ids=range(len(SHAPES)))
def test_logits_and_greedy_tokens_equal_those_of_transformers(config: ModelConfig) -> None:
    model, llama = make_pair(config)
    input_ids = torch.randint(3, config.vocab_size, (3, 64), generator=seeded(2))
    with torch.no_grad():
        torch.testing.assert_close(
            model(input_ids), llama(input_ids).logits, atol=1e-5, rtol=0, check_stride=False
        )
    greedy = SamplingConfig(temperature=0.0, max_tokens=256)
    llama.generation_config.eos_token_id = None
    prompt = input_ids[:1, :9]
    expected = llama.generate(
        prompt, attention_mask=torch.ones_like(prompt), max_new_tokens=256, do_sample=False
    )
    (generation,) = generate_batch(model, [prompt[0].tolist()], greedy, ())
    ours = generation.ids
    assert len(ours) == 256
    assert len(set(ours)) > 4  # else a broken cache could go unseen
    assert ours == expected[0, 9:].tolist()


@pytest.fixture
def small() -> Etude:
    return make_pair(replace(START, num_key_value_heads=2, max_position_embeddings=40))[0]


@pytest.mark.parametrize("pieces", [[1] * 40, [40], [17, 1, 1, 10, 11], [1, 39]])
def test_cached_decoding_equals_the_full_forward(small: Etude, pieces: list[int]) -> None:
    input_ids = torch.randint(320, (3, 40), generator=seeded(3))
    cache, logits = KVCache(small.config, 3), []
    with torch.no_grad():
        for piece in torch.split(input_ids, pieces, dim=1):
            logits.append(small(piece, cache))
            cache.advance(piece.shape[1])
        torch.testing.assert_close(torch.cat(logits, 1), small(input_ids), atol=1e-5, rtol=0)


def test_cached_decoding_of_ragged_rows_equals_the_full_forward(small: Etude) -> None:
    lengths, steps = [5, 1, 17, 9], 12
    rows = torch.randint(320, (4, 40), generator=seeded(4))
    padded = rows[:, :17].clone()
    for row, length in enumerate(lengths):
        padded[row, length:] = 0
    cache = KVCache(small.config, 4)
    with torch.no_grad():
        small(padded, cache)
        cache.advance(lengths)
        for step in range(steps):
            newest = torch.stack([rows[i, n + step : n + step + 1] for i, n in enumerate(lengths)])
            logits = small(newest, cache)
            cache.advance(1)
            for row, length in enumerate(lengths):
                full = small(rows[row : row + 1, : length + step + 1])[0, -1]
                torch.testing.assert_close(logits[row, -1], full, atol=1e-5, rtol=0)


def test_some_rows_of_a_cache_are_a_cache(small: Etude) -> None:
    rows = torch.randint(320, (4, 20), generator=seeded(5))
    lengths = [3, 19, 8, 12]
    cache = KVCache(small.config, 4)
    with torch.no_grad():
        small(rows, cache)
        cache.advance(lengths)
        logits = small(rows[1:3, :1], cache.rows(1, 3))
        for found, row in zip(logits, (1, 2), strict=True):
            ids = torch.cat([rows[row, : lengths[row]], rows[row, :1]])
            torch.testing.assert_close(found[-1], small(ids[None])[0, -1], atol=1e-5, rtol=0)


def test_a_copied_beginning_continues_as_the_original(small: Etude) -> None:
    rows = torch.randint(320, (1, 20), generator=seeded(6))
    cache = KVCache(small.config, 2)
    with torch.no_grad():
        small(rows, cache.rows(0, 1))
        cache.copy(0, 1, 6)
        copied = cache.rows(1, 2)
        copied.lengths = [6]
        continued = small(rows[:, 6:], copied)
        torch.testing.assert_close(continued, small(rows)[:, 6:], atol=1e-5, rtol=0)


def test_cache_refuses_to_outgrow_the_context(small: Etude) -> None:
    cache = KVCache(small.config, 2)
    ids = torch.zeros(2, 39, dtype=torch.long)
    with torch.no_grad():
        small(ids, cache)
        cache.advance([39, 12])
        small(ids[:, :1], cache)  # the last place
        cache.advance(1)
        with pytest.raises(ValueError, match="40 \\+ 1 tokens do not fit a cache of 40"):
            small(ids[:, :1], cache)


def test_later_tokens_do_not_change_earlier_logits(small: Etude) -> None:
    ids = torch.randint(320, (1, 40), generator=seeded(8))
    changed = ids.clone()
    changed[0, 20:] = 7
    with torch.no_grad():
        assert torch.equal(small(ids)[:, :20], small(changed)[:, :20])


def test_a_document_in_a_row_is_as_it_is_alone(small: Etude) -> None:
    """Positions count from its beginning, so that angles are rounded as in generation."""
    row, documents = torch.randint(320, (1, 40), generator=seeded(9)), torch.tensor([[0] * 40])
    documents[0, 5:31], documents[0, 31:] = 1, torch.arange(2, 11)
    asked: list[torch.Tensor] = []
    small.model.rotary_emb.register_forward_pre_hook(lambda _, given: asked.append(given[0]))
    with torch.no_grad():
        together = small(row, document_ids=documents)
        for begin, end in ((0, 5), (5, 31), (38, 39)):
            alone = small(row[:, begin:end])
            torch.testing.assert_close(together[:, begin:end], alone, atol=2e-6, rtol=0)
    assert asked[0].tolist() == [[*range(5), *range(26), *[0] * 9]]


def test_tied_output_layer_is_the_embedding() -> None:
    model = Etude(START)
    assert model.lm_head.weight is model.model.embed_tokens.weight
    untied = Etude(replace(START, tie_word_embeddings=False))
    assert untied.num_parameters() - model.num_parameters() == 320 * 48


def test_same_seed_same_initial_weights() -> None:
    def weights(seed: int) -> torch.Tensor:
        model = Etude(START)
        model.initialize(seeded(seed))
        return model.model.embed_tokens.weight

    assert torch.equal(weights(1), weights(1))
    assert not torch.equal(weights(1), weights(2))
