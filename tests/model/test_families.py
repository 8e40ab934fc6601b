"""Every family is the stock class of transformers that the table says, out and in again."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from transformers import AutoConfig, AutoModelForCausalLM
from transformers.models.qwen3_moe.modeling_qwen3_moe import load_balancing_loss_func

from config import ModelConfig, SamplingConfig, UserError
from inference.engine.engine import generate_batch
from inference.engine.native import LIBRARY
from model.blockwise_attention import blockwise_attention
from model.directory.config_json import load_model_config
from model.directory.pretrained import load_pretrained, save_pretrained, weights_of
from model.directory.tensors import split_experts
from model.experts import balance_loss, grouped_product
from model.families import FAMILIES, family_of, model_type_of
from model.kv_cache import KVCache
from model.tokenizer import EtudeTokenizer
from model.transformer import Etude, same_document, within
from tests.model.families import SHAPES, make, seeded

NAMES = [f"{family} {number}" for family, shapes in SHAPES.items() for number in range(len(shapes))]


def shape_of(name: str) -> ModelConfig:
    family, number = name.split()
    return SHAPES[family][int(number)]


def stock(directory: Path) -> Any:
    """A directory's model in transformers, which never ends an answer by itself."""
    found: Any = AutoModelForCausalLM.from_pretrained(directory, local_files_only=True)
    found.generation_config.eos_token_id = None
    return found.eval()


@pytest.mark.parametrize("name", NAMES)
def test_each_family_is_its_stock_class(
    tmp_path: Path, name: str, tokenizer: EtudeTokenizer
) -> None:
    config = shape_of(name)
    model = make(config)
    save_pretrained(tmp_path, model, tokenizer, {}, is_chat=False)
    theirs = stock(tmp_path)
    assert type(theirs).__name__ == FAMILIES[name.split()[0]].architecture
    ids = torch.randint(3, config.vocab_size, (2, 64), generator=seeded(2))
    with torch.no_grad():
        ours = model(ids)
        torch.testing.assert_close(ours, theirs(ids).logits, atol=1e-5, rtol=0, check_stride=False)
    assert float(ours.abs().max()) > 0.3  # else everything is close

    back, _ = load_pretrained(tmp_path)
    assert back.config == config
    for key, weight in weights_of(model).items():
        assert torch.equal(weight, weights_of(back)[key])
    theirs.save_pretrained(tmp_path / "again")
    (tmp_path / "again" / "tokenizer.json").write_bytes((tmp_path / "tokenizer.json").read_bytes())
    assert load_model_config(tmp_path / "again") == config
    saved = load_file(tmp_path / "again" / "model.safetensors")
    mine = load_file(tmp_path / "model.safetensors")
    assert {*mine} == {*saved}
    assert all(torch.equal(mine[key], saved[key]) for key in mine)


@pytest.mark.parametrize("name", [n for n in NAMES if n.endswith("1")])
def test_greedy_answers_are_those_of_transformers(
    tmp_path: Path, name: str, tokenizer: EtudeTokenizer
) -> None:
    greedy_answers_agree(tmp_path, shape_of(name), tokenizer)


@pytest.mark.full
@pytest.mark.parametrize("name", [n for n in NAMES if not n.endswith("1")])
def test_greedy_answers_of_other_shapes_too(
    tmp_path: Path, name: str, tokenizer: EtudeTokenizer
) -> None:
    greedy_answers_agree(tmp_path, shape_of(name), tokenizer)


@pytest.fixture(scope="module", autouse=True)
def compiled() -> None:
    """The native forward pass, where there is a compiler."""
    LIBRARY.prepare()
    LIBRARY.wait()


def greedy_answers_agree(directory: Path, config: ModelConfig, tokenizer: EtudeTokenizer) -> None:
    model = make(config)
    save_pretrained(directory, model, tokenizer, {}, is_chat=False)
    prompt = torch.randint(3, config.vocab_size, (1, 9), generator=seeded(3))
    expected = stock(directory).generate(
        prompt, attention_mask=torch.ones_like(prompt), max_new_tokens=256, do_sample=False
    )
    greedy = SamplingConfig(temperature=0.0, max_tokens=256)
    for native in (False, True):
        (made,) = generate_batch(model, [prompt[0].tolist()], greedy, (), native=native)
        assert made.ids == expected[0, 9:].tolist()
    assert len(set(made.ids)) > 4  # else a broken cache could go unseen


def test_the_table_has_every_row_once_and_refuses_what_is_no_row() -> None:
    assert [*SHAPES] == [*FAMILIES]
    for model_type, shapes in SHAPES.items():
        assert {model_type_of(shape) for shape in shapes} == {model_type}
    with pytest.raises(UserError, match="attention_bias with use_qk_norm: transformers"):
        Etude(ModelConfig(attention_bias=True, use_qk_norm=True))
    with pytest.raises(UserError, match="num_experts: transformers has no such network"):
        Etude(ModelConfig(num_experts=8))
    with pytest.raises(UserError, match="head_dim is 32, and Qwen2ForCausalLM has heads of"):
        family_of(ModelConfig(attention_bias=True, head_dim=32))
    with pytest.raises(UserError, match="a Llama only where the 5 heads divide it"):
        family_of(ModelConfig(num_attention_heads=5, num_key_value_heads=5, head_dim=32))


@pytest.mark.parametrize(
    ("family", "changes", "said"),
    [
        ("mistral", {"layer_types": ["full_attention"]}, ""),
        ("mistral", {"sliding_window": 0}, "sliding_window is 0"),
        ("mistral", {"sliding_window": "8"}, "sliding_window is '8', not a int"),
        ("llama", {"sliding_window": 8}, "sliding_window is 8, which Etude's network does not"),
        ("llama", {"num_experts": 8}, "num_experts is 8"),
        ("qwen2", {"sliding_window": 8}, ""),  # means nothing without use_sliding_window
        ("qwen2", {"use_sliding_window": True}, "use_sliding_window is True, which Etude's"),
        ("qwen3", {"attention_bias": True}, "attention_bias is True"),
        ("qwen3", {"layer_types": ["sliding_attention"]}, "layer_types has sliding_attention"),
        ("qwen3_moe", {"num_experts_per_tok": 9}, "num_experts_per_tok is 9, and there are 6"),
        ("qwen3_moe", {"mlp_only_layers": [0, "1"]}, "mlp_only_layers is [0, '1'], not a list"),
        ("qwen3_moe", {"mlp_only_layers": [0, 1]}, "of the blocks 0 to 1, leave one with"),
        ("qwen3_moe", {"mlp_only_layers": [7]}, "mlp_only_layers is [7]"),
        ("qwen3_moe", {"moe_intermediate_size": 12}, "moe_intermediate_size is 12"),
        ("qwen3_moe", {"num_local_experts": None, "norm_topk_prob": None}, ""),
        ("smollm3", {"no_rope_layers": [1, 0, 1, 1]}, "no_rope_layers is not every 4th layer"),
        ("smollm3", {"no_rope_layers": None}, ""),
    ],
)
def test_what_a_config_asks_for_is_refused_by_name(
    tmp_path: Path, family: str, changes: dict[str, Any], said: str, tokenizer: EtudeTokenizer
) -> None:
    save_pretrained(tmp_path, make(SHAPES[family][0]), tokenizer, {}, is_chat=False)
    path = tmp_path / "config.json"
    fields = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps({**fields, **changes}), encoding="utf-8")
    if not said:
        expected = SHAPES[family][0]
        if "norm_topk_prob" in changes:  # transformers' own default
            expected = dataclasses.replace(expected, norm_topk_prob=False)
        assert load_model_config(tmp_path) == expected
        return
    with pytest.raises(UserError) as refusal:
        load_model_config(tmp_path)
    assert said in str(refusal.value)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("family", [*FAMILIES])
def test_a_config_json_that_says_little_means_what_it_means_to_transformers(
    tmp_path: Path, family: str
) -> None:
    """Only the sizes that every family needs are there."""
    sizes = {"vocab_size": 400, "hidden_size": 1024, "intermediate_size": 96}
    sizes |= {"num_hidden_layers": 4, "num_attention_heads": 32, "max_position_embeddings": 64}
    fields = {"model_type": family, **sizes, "pad_token_id": 0}
    (tmp_path / "config.json").write_text(json.dumps(fields), encoding="utf-8")
    with torch.device("meta"):
        from_config: Any = AutoModelForCausalLM.from_config
        theirs = from_config(AutoConfig.from_pretrained(tmp_path))
        ours = Etude(load_model_config(tmp_path))
    shapes = {n: p.shape for n, p in split_experts(weights_of(ours)).items()}
    names = {**dict(theirs.state_dict())}
    if ours.config.tie_word_embeddings:
        names.pop("lm_head.weight")
    joined = join_theirs(names)
    assert {n: tuple(s) for n, s in shapes.items()} == joined
    assert ours.config.rope_theta == theirs.config.rope_parameters["rope_theta"]
    assert ours.config.rms_norm_eps == theirs.config.rms_norm_eps
    window = theirs.config.sliding_window if family == "mistral" else None
    assert ours.config.sliding_window == window
    if family == "qwen3_moe":
        for name in ("num_experts_per_tok", "norm_topk_prob", "router_aux_loss_coef"):
            assert getattr(ours.config, name) == getattr(theirs.config, name)


def join_theirs(weights: dict[str, torch.Tensor]) -> dict[str, tuple[int, ...]]:
    """Shapes by the names of a file: transformers keeps gate and up of all experts as one."""
    found: dict[str, tuple[int, ...]] = {}
    for name, tensor in weights.items():
        prefix, _, kind = name.rpartition(".experts.")
        if not prefix:
            found[name] = tuple(tensor.shape)
            continue
        count, rows, columns = tensor.shape
        parts = {"gate_up_proj": ("gate_proj", "up_proj")}.get(kind, (kind,))
        for number in range(count):
            for part in parts:
                found[f"{prefix}.experts.{number}.{part}.weight"] = (rows // len(parts), columns)
    return found


@pytest.mark.parametrize("family", ["mistral", "qwen3_moe", "smollm3"])
def test_cached_decoding_equals_the_full_forward(family: str) -> None:
    """In pieces, and for rows of different lengths."""
    model = make(SHAPES[family][0])
    ids = torch.randint(400, (3, 40), generator=seeded(3))
    lengths = [5, 17, 9]
    with torch.no_grad():
        full = model(ids)
        cache, logits = KVCache(model.config, 3), []
        for piece in torch.split(ids, [17, 1, 1, 10, 11], dim=1):
            logits.append(model(piece, cache))
            cache.advance(piece.shape[1])
        torch.testing.assert_close(torch.cat(logits, 1), full, atol=1e-5, rtol=0)
        cache = KVCache(model.config, 3)
        model(ids[:, :17], cache)
        cache.advance(lengths)
        for step in range(12):
            newest = torch.stack(
                [ids[row, n + step : n + step + 1] for row, n in enumerate(lengths)]
            )
            found = model(newest, cache.rows(0, 3))
            cache.advance(1)
            for row, length in enumerate(lengths):
                expected = full[row, length + step]
                torch.testing.assert_close(found[row, -1], expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("family", [*FAMILIES])
def test_a_document_in_a_row_is_as_it_is_alone(family: str) -> None:
    model = make(SHAPES[family][0])
    ids = torch.randint(400, (1, 40), generator=seeded(4))
    numbers = torch.tensor([[0] * 13 + [1] * 20 + [2] * 7])
    with torch.no_grad():
        packed = model(ids, document_ids=numbers)
        alone = torch.cat([model(part) for part in torch.split(ids, [13, 20, 7], dim=1)], 1)
    torch.testing.assert_close(packed, alone, atol=1e-5, rtol=0)


@pytest.mark.parametrize(("seq", "window"), [(400, 7), (300, 128), (300, 129), (270, 260)])
def test_attention_in_blocks_sees_the_window_alone(seq: int, window: int) -> None:
    """Values and gradients, with documents and without."""
    q, k, v = (
        torch.randn(2, heads, seq, 8, generator=seeded(heads), requires_grad=True)
        for heads in (4, 2, 2)
    )
    documents = (torch.arange(seq)[None] >= 90 * torch.arange(1, 3)[:, None]).long()
    for mask in (None, same_document(documents)):
        mask = within(window, seq, q.device, mask)
        found, expected = (
            blockwise_attention(q, k, v, mask, window),
            F.scaled_dot_product_attention(q, k, v, attn_mask=mask, enable_gqa=True),
        )
        torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)
        given = torch.randn(found.shape, generator=seeded(9))
        theirs = torch.autograd.grad(expected, (q, k, v), given)
        for ours, other in zip(torch.autograd.grad(found, (q, k, v), given), theirs, strict=True):
            torch.testing.assert_close(ours, other, atol=1e-5, rtol=0)


def test_gradients_of_experts_are_those_of_transformers(
    tmp_path: Path, tokenizer: EtudeTokenizer
) -> None:
    model = make(SHAPES["qwen3_moe"][0])
    save_pretrained(tmp_path, model, tokenizer, {}, is_chat=False)
    theirs = stock(tmp_path)
    ids = torch.randint(400, (2, 40), generator=seeded(5))
    for logits in (model(ids), theirs(ids).logits):
        loss = F.cross_entropy(logits[:, :-1].flatten(0, 1), ids[:, 1:].flatten())
        torch.autograd.backward(loss)
    mlp: Any = model.model.layers[1].mlp
    other = theirs.model.layers[1].mlp
    pairs = [(mlp.gate.weight, other.gate.weight.grad)]
    gate, up = other.experts.gate_up_proj.grad.chunk(2, dim=1)
    pairs += [(mlp.experts.gate_proj, gate), (mlp.experts.up_proj, up)]
    pairs += [(mlp.experts.down_proj, other.experts.down_proj.grad)]
    pairs += [(model.model.embed_tokens.weight, theirs.model.embed_tokens.weight.grad)]
    for ours, expected in pairs:
        assert float(expected.abs().max()) > 1e-4
        torch.testing.assert_close(ours.grad, expected, atol=1e-6, rtol=1e-4)


def test_the_grouped_product_and_its_gradient_hold_for_experts_without_tokens() -> None:
    rows = torch.randn(12, 8, dtype=torch.float64, generator=seeded(1), requires_grad=True)
    weights = torch.randn(4, 16, 8, dtype=torch.float64, generator=seeded(2), requires_grad=True)
    ends = torch.tensor([0, 5, 5, 12], dtype=torch.int32)
    assert torch.autograd.gradcheck(grouped_product, (rows, weights, ends))


@pytest.mark.full
def test_the_grouped_product_is_what_a_compiler_takes_it_for() -> None:
    rows, weights = torch.randn(12, 8), torch.randn(4, 16, 8, requires_grad=True)
    ends = torch.tensor([0, 5, 5, 12], dtype=torch.int32)
    torch.library.opcheck(grouped_product, (rows, weights, ends))


def test_the_balance_loss_is_that_of_transformers() -> None:
    """For a row and a block; that of several is the mean, of the tokens that count."""
    logits = [torch.randn(3, 20, 6, generator=seeded(n)) for n in range(2)]
    counted = torch.ones(3, 20, dtype=torch.bool)
    counted[1, 13:] = False
    found = balance_loss(logits, 2, counted)
    for row in range(3):
        own = [
            torch.as_tensor(
                load_balancing_loss_func((each[row],), 6, 2, counted[row : row + 1].float())
            )
            for each in logits
        ]
        torch.testing.assert_close(found[row], torch.stack(own).mean())
    equal = balance_loss([torch.zeros(1, 5, 6)], 2, torch.ones(1, 5, dtype=torch.bool))
    assert float(equal) == pytest.approx(2)


def test_a_layer_without_one_of_its_experts_is_named(
    tmp_path: Path, tokenizer: EtudeTokenizer
) -> None:
    save_pretrained(tmp_path, make(SHAPES["qwen3_moe"][0]), tokenizer, {}, is_chat=False)
    (tmp_path / "MANIFEST.json").unlink()
    weights = load_file(tmp_path / "model.safetensors")
    del weights["model.layers.1.mlp.experts.3.up_proj.weight"]
    save_file(weights, tmp_path / "model.safetensors")
    with pytest.raises(UserError, match=r"layers.1.mlp.experts.up_proj is missing"):
        load_pretrained(tmp_path)
