"""Low-rank adapters: the formulas of their papers, PEFT's form, and what must not change."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from config import LoraConfig, ModelConfig, UserError
from model.adapters import (
    LoRALinear,
    adapted_layers,
    adapter_weights,
    add_adapter,
    merge_adapter,
    sharing_copy,
)
from model.directory.adapter_files import ADAPTER_CONFIG, ADAPTER_WEIGHTS, adapter_files
from model.directory.pretrained import (
    base_sha256,
    is_chat_model,
    load_adapted,
    load_pretrained,
    model_files,
    save_pretrained,
    weights_of,
    weights_sha256,
)
from model.directory.storage import update_directory
from model.tokenizer import EtudeTokenizer
from model.transformer import Etude

KINDS = [
    LoraConfig(lora_rank=4),
    LoraConfig(lora_rank=4, use_rslora=True),
    LoraConfig(lora_rank=3, use_dora=True),
    LoraConfig(lora_rank=3, lora_alpha=5, use_dora=True, use_rslora=True),
]
NAMES = ["lora", "rslora", "dora", "dora and rslora"]
TARGETS: list[tuple[str, ...]] = [("all",), ("k_proj", "1.mlp.down_proj"), ("all", "lm_head")]
IDS = torch.randint(0, 400, (2, 20), generator=torch.Generator().manual_seed(4))


def random_adapter(model: Etude, lora: LoraConfig, seed: int = 2) -> Etude:
    """The model with an adapter that does something, on the same weights."""
    adapted = sharing_copy(model)
    generator = torch.Generator().manual_seed(seed)
    add_adapter(adapted, lora, generator)
    with torch.no_grad():
        for weight in adapter_weights(adapted).values():
            weight.add_(torch.randn(weight.shape, generator=generator) * 0.1)
    return adapted


@pytest.fixture(params=[True, False], ids=["tied", "untied"])
def base(request: pytest.FixtureRequest, model: Etude) -> Etude:
    """A model whose output layer is the embedding, or is not."""
    if not request.param:
        model.config = dataclasses.replace(model.config, tie_word_embeddings=False)
        model.lm_head.weight = nn.Parameter(model.lm_head.weight.detach().flip(0))
    return model


@pytest.mark.parametrize("lora", KINDS, ids=NAMES)
def test_a_new_adapter_changes_nothing(base: Etude, lora: LoraConfig) -> None:
    before = base(IDS)
    adapted = sharing_copy(base)
    add_adapter(adapted, dataclasses.replace(lora, lora_targets=TARGETS[2]), torch.Generator())
    assert len(adapted_layers(adapted)) == 2 * 7 + 1
    torch.testing.assert_close(adapted(IDS), before, atol=2e-5, rtol=1e-5)
    trained = {n for n, p in adapted.named_parameters() if p.requires_grad}
    assert trained == set(adapter_weights(adapted))


def textbook(weight: Tensor, layer: LoRALinear, lora: LoraConfig) -> Tensor:
    """The weight of layer and adapter in float64, by the papers' formulas."""
    a, b = layer.lora_A.weight.double(), layer.lora_B.weight.double()
    divisor = math.sqrt(lora.lora_rank) if lora.use_rslora else lora.lora_rank
    direction = weight.double() + lora.lora_alpha / divisor * b @ a
    if layer.lora_magnitude_vector is None:
        return direction
    lengths = torch.stack([row.square().sum().sqrt() for row in direction])
    return layer.lora_magnitude_vector.double()[:, None] * direction / lengths[:, None]


@pytest.mark.parametrize("targets", TARGETS, ids=str)
@pytest.mark.parametrize("lora", KINDS, ids=NAMES)
def test_forward_product_and_merged_weight_are_the_formula(
    base: Etude, lora: LoraConfig, targets: tuple[str, ...]
) -> None:
    adapted = random_adapter(base, dataclasses.replace(lora, lora_targets=targets))
    layers = adapted_layers(adapted)
    for name, layer in layers.items():
        weight = textbook(base.get_submodule(name).weight, layer, lora)  # type: ignore[arg-type]
        x = torch.randn(5, layer.in_features)
        expected = (x.double() @ weight.mT).float()
        torch.testing.assert_close(layer(x), expected, atol=1e-5, rtol=1e-5)
        inputs, head = layer.as_product(x)
        torch.testing.assert_close(inputs @ head.mT, expected, atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(layer.merged(), weight.float(), atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("targets", TARGETS, ids=str)
@pytest.mark.parametrize("lora", KINDS, ids=NAMES)
def test_merging_changes_no_logit_and_no_embedding(
    base: Etude, lora: LoraConfig, targets: tuple[str, ...]
) -> None:
    """A merged output layer that was tied is not the embedding any more: else it would change the
    input too."""
    embedding = base.model.embed_tokens.weight.clone()
    adapted = random_adapter(base, dataclasses.replace(lora, lora_targets=targets))
    apart = adapted(IDS)
    assert (apart - base(IDS)).abs().max() > 0.5
    merge_adapter(adapted)
    assert not adapter_weights(adapted)
    torch.testing.assert_close(adapted(IDS), apart, atol=1e-4, rtol=0)
    assert torch.equal(adapted.model.embed_tokens.weight, embedding)
    tied = base.config.tie_word_embeddings and "lm_head" not in targets
    assert adapted.config.tie_word_embeddings == tied
    assert ("lm_head.weight" in weights_of(adapted)) == (not tied)


def test_training_the_tied_output_layers_adapter_leaves_the_embedding(model: Etude) -> None:
    add_adapter(model, LoraConfig(lora_rank=4, lora_targets=("lm_head",)), torch.Generator())
    before = {name: weight.clone() for name, weight in weights_of(model).items()}
    start = model.lm_head.merged().clone()  # type: ignore[operator]
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=0.01)
    for _ in range(3):
        model(IDS).logsumexp(-1).sum().backward()
        optimizer.step()
    assert all(torch.equal(weight, before[name]) for name, weight in weights_of(model).items())
    assert model.lm_head.weight is model.model.embed_tokens.weight
    assert not torch.equal(model.lm_head.merged(), start)  # type: ignore[operator]


@pytest.mark.parametrize("target", ["embed_tokens", "query", "layers", "proj", ""])
def test_a_target_that_is_not_there_is_named(model: Etude, target: str) -> None:
    lora = LoraConfig(lora_rank=2, lora_targets=("q_proj", target))
    with pytest.raises(UserError, match=f"--lora_targets {target}: the model has no such linear"):
        add_adapter(model, lora, torch.Generator())


def test_a_rank_that_no_layer_has_is_refused(model: Etude) -> None:
    for targets, largest in ((("all",), 32), (("k_proj", "v_proj"), 16)):
        with pytest.raises(UserError, match=f"--lora_rank {largest + 1}: .* above {largest};"):
            add_adapter(model, LoraConfig(largest + 1, lora_targets=targets), torch.Generator())
    add_adapter(model, LoraConfig(32), torch.Generator())  # though k_proj has 16


def test_dropout_is_for_where_gradients_are_recorded(model: Etude) -> None:
    lora = LoraConfig(lora_rank=4, lora_dropout=0.5, lora_targets=("all", "lm_head"))
    adapted = random_adapter(model, lora)
    with torch.no_grad():
        assert torch.equal(adapted(IDS), adapted(IDS))
    torch.manual_seed(1)
    one = adapted(IDS)
    assert not torch.equal(one, adapted(IDS))
    torch.manual_seed(1)
    assert torch.equal(one, adapted(IDS))


def save(adapted: Etude, lora: LoraConfig, base: Path, directory: Path, **summary: Any) -> Path:
    """Writes an adapter's two files, and a summary."""
    files = adapter_files(lora, adapter_weights(adapted), base, directory)
    tokenizer = EtudeTokenizer.load(base)
    beside = model_files(adapted.config, weights_of(adapted), tokenizer, summary, is_chat=True)
    del beside["config.json"], beside["model.safetensors"]
    update_directory(directory, files | beside)
    return directory


LORA = LoraConfig(lora_rank=4, lora_targets=("all", "lm_head"), use_dora=True)


@pytest.fixture
def adapter_dir(tmp_path: Path, model: Etude, model_dir: Path) -> Path:
    """An adapter of the model in `model_dir`."""
    adapted, fingerprint = random_adapter(model, LORA), base_sha256(model)
    return save(adapted, LORA, model_dir, tmp_path / "adapter", base_sha256=fingerprint)


def test_an_adapters_directory_is_read_beside_its_base_or_merged(
    model: Etude, model_dir: Path, adapter_dir: Path
) -> None:
    expected = random_adapter(model, LORA)(IDS)
    apart, _ = load_adapted(model_dir, adapter_dir)
    assert torch.equal(apart(IDS), expected)
    merged, tokenizer = load_pretrained(adapter_dir)  # by what it says of its base
    torch.testing.assert_close(merged(IDS), expected, atol=1e-4, rtol=0)
    assert is_chat_model(adapter_dir)
    assert tokenizer.fingerprint == load_pretrained(model_dir)[1].fingerprint
    both = adapter_dir.parent.rename(adapter_dir.parent.with_name("moved"))
    assert torch.equal(load_pretrained(both / "adapter")[0](IDS), merged(IDS))
    with pytest.raises(UserError, match=r"is an adapter, and training starts from a whole model"):
        weights_sha256(both / "adapter")


def test_a_base_is_known_however_it_is_stored(
    tmp_path: Path, model: Etude, tokenizer: EtudeTokenizer
) -> None:
    expected = base_sha256(model)
    save_pretrained(tmp_path, model, tokenizer, {}, is_chat=False)
    weights = load_file(tmp_path / "model.safetensors")
    (tmp_path / "MANIFEST.json").unlink()
    save_file(dict(reversed(weights.items())), tmp_path / "model.safetensors", {"a": "b"})
    assert base_sha256(load_pretrained(tmp_path)[0]) == expected
    assert base_sha256(random_adapter(model, LORA)) == expected
    with torch.no_grad():
        model.model.norm.weight[0] += 1e-6
    assert base_sha256(model) != expected


def other_base(model: Etude, directory: Path, tokenizer: EtudeTokenizer) -> Path:
    other = Etude(model.config)
    other.initialize(torch.Generator().manual_seed(9))
    directory.mkdir()
    save_pretrained(directory, other, tokenizer, {}, is_chat=True)
    return directory


def test_an_adapter_of_another_base_is_refused(
    tmp_path: Path, model: Etude, adapter_dir: Path, tokenizer: EtudeTokenizer
) -> None:
    other = other_base(model, tmp_path / "other", tokenizer)
    with pytest.raises(UserError, match=r"an adapter of other weights than those of .*other"):
        load_adapted(other, adapter_dir)


def change(name: str, value: Any) -> Callable[[Path], None]:
    """Changes a field of adapter_config.json."""

    def apply(directory: Path) -> None:
        path = directory / ADAPTER_CONFIG
        fields = json.loads(path.read_text(encoding="utf-8"))
        path.write_text(json.dumps({**fields, name: value}), encoding="utf-8")
        (directory / "MANIFEST.json").unlink()

    return apply


def change_weights(edit: Callable[[dict[str, Tensor]], object]) -> Callable[[Path], None]:
    """Changes the tensors of an adapter."""

    def apply(directory: Path) -> None:
        weights = load_file(directory / ADAPTER_WEIGHTS)
        edit(weights)
        save_file(weights, directory / ADAPTER_WEIGHTS)
        (directory / "MANIFEST.json").unlink()

    return apply


LAYER = "base_model.model.model.layers.0.self_attn.q_proj"
STRANGE = "base_model.model.model.layers.0.self_attn.x_proj.lora_A.weight"
DAMAGE: list[tuple[Callable[[Path], object], str]] = [
    (change("peft_type", "LOHA"), "peft_type is 'LOHA', which Etude does not have"),
    (change("bias", "lora_only"), "bias is 'lora_only'"),
    (change("alpha_pattern", {"q_proj": 3}), "alpha_pattern is"),
    (change("modules_to_save", ["lm_head"]), "modules_to_save is"),
    (change("init_lora_weights", "pissa_niter_4"), "which changes the base too"),
    (change("r", None), "r or lora_alpha is missing or not a number"),
    (change("r", "many"), "r or lora_alpha is missing or not a number"),
    (change("lora_alpha", -1), "lora_alpha is -1.0: use a value above 0"),
    (change("base_model_name_or_path", "nowhere"), "its base is not at .*nowhere: name both"),
    (change_weights(lambda w: w.pop(f"{LAYER}.lora_B.weight")), "q_proj.lora_B.weight is missing"),
    (change_weights(lambda w: w.update(extra=torch.ones(1))), "extra is no weight of an adapter"),
    (
        change_weights(
            lambda w: w.update({f"{LAYER[:-6]}x_proj.lora_A.weight": torch.ones(4, 32)})
        ),
        "has no linear layer model.layers.0.self_attn.x_proj",
    ),
    (
        change_weights(lambda w: w.update({f"{LAYER}.lora_A.weight": torch.ones(4, 31)})),
        r"has the shape \(4, 31\)",
    ),
    (lambda d: (d / ADAPTER_WEIGHTS).write_bytes(b"x"), "adapter_model.safetensors has 1 bytes"),
]


@pytest.mark.parametrize(("damage", "said"), DAMAGE, ids=[said[:30] for _, said in DAMAGE])
def test_what_is_not_an_adapter_that_etude_has_is_refused(
    adapter_dir: Path, damage: Callable[[Path], object], said: str
) -> None:
    damage(adapter_dir)
    with pytest.raises(UserError, match=said):
        load_pretrained(adapter_dir)


def test_a_directory_without_an_adapter_is_named(model_dir: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="there is no adapter here"):
        load_adapted(model_dir, tmp_path / "none")
    with pytest.raises(UserError, match="there is no adapter here"):
        load_adapted(model_dir, model_dir)


def test_a_weight_of_the_output_layer_that_peft_saves_beside_must_be_the_bases(
    model_dir: Path, adapter_dir: Path
) -> None:
    embedding = load_file(model_dir / "model.safetensors")["model.embed_tokens.weight"]
    name = "base_model.model.lm_head.base_layer.weight"
    expected = load_pretrained(adapter_dir)[0](IDS)
    change_weights(lambda w: w.update({name: embedding}))(adapter_dir)
    assert torch.equal(load_pretrained(adapter_dir)[0](IDS), expected)
    save_file(
        {**load_file(adapter_dir / ADAPTER_WEIGHTS), name: embedding + 1},
        adapter_dir / ADAPTER_WEIGHTS,
    )
    with pytest.raises(UserError, match="is not the weight that"):
        load_pretrained(adapter_dir)


@pytest.mark.full
@pytest.mark.parametrize("targets", TARGETS, ids=str)
@pytest.mark.parametrize("lora", KINDS, ids=NAMES)
def test_peft_reads_what_is_written_and_writes_what_is_read(
    tmp_path: Path,
    base: Etude,
    tokenizer: EtudeTokenizer,
    lora: LoraConfig,
    targets: tuple[str, ...],
) -> None:
    peft = pytest.importorskip("peft", reason="pip install peft")
    from transformers import AutoModelForCausalLM

    save_pretrained(tmp_path / "base", base, tokenizer, {}, is_chat=True)
    lora = dataclasses.replace(lora, lora_targets=targets)
    adapted = random_adapter(base, lora)
    directory = save(adapted, lora, tmp_path / "base", tmp_path / "adapter")
    llama = AutoModelForCausalLM.from_pretrained(tmp_path / "base", dtype=torch.float32)
    theirs = peft.PeftModel.from_pretrained(llama, directory).eval()
    with torch.no_grad():
        logits = adapted(IDS)
        torch.testing.assert_close(theirs(IDS).logits, logits, atol=1e-5, rtol=0)
        theirs.save_pretrained(tmp_path / "again")
        again, _ = load_adapted(tmp_path / "base", tmp_path / "again")
        torch.testing.assert_close(again(IDS), logits, atol=1e-5, rtol=0)
        if base.config.tie_word_embeddings and "lm_head" in targets:
            return  # PEFT merges into the embedding, which is then another one
        merged = theirs.merge_and_unload()
        torch.testing.assert_close(merged(IDS).logits, logits, atol=1e-4, rtol=0)


def test_sharing_copies_share_and_do_not_meet(model: Etude, model_config: ModelConfig) -> None:
    before = model(IDS)
    one, two = (random_adapter(model, LoraConfig(lora_rank=2), seed) for seed in (1, 2))
    assert one.model.embed_tokens.weight is model.model.embed_tokens.weight
    assert one.model.layers[0].mlp.up_proj.weight is model.model.layers[0].mlp.up_proj.weight  # type: ignore[union-attr]
    assert torch.equal(model(IDS), before)
    assert not torch.equal(one(IDS), two(IDS))
    assert one.lm_head.weight is one.model.embed_tokens.weight
