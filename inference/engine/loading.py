"""From a model directory to an engine that is ready to answer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch

from config import DeviceName, QuantizeName, UserError
from inference.engine.answers import Spell, make_spell
from inference.engine.constraint import Vocabulary
from inference.engine.engine import Engine
from inference.engine.native import LIBRARY
from model.adapters import merge_adapter, sharing_copy
from model.device import pick_device
from model.directory.adapter_files import is_adapter
from model.directory.pretrained import (
    is_chat_model,
    load_adapted,
    load_pretrained,
    put_adapter,
)
from model.tokenizer import EtudeTokenizer

DEMO = (
    "name its directory with --model_dir, or run `make demo`, which trains a small one, and use "
    "`--model_dir weight/demo/etude_grpo_model`"
)


@dataclass(frozen=True)
class LoadedModel:
    """A model with its tokenizer, ready to generate."""

    engine: Engine
    tokenizer: EtudeTokenizer
    name: str
    """The name of its directory."""
    is_chat: bool
    """Whether it answers messages, or only continues texts."""
    title: str
    """One line about it."""
    adapter: str | None = None
    """What the engine calls its adapter; None: there is none, or it is merged."""

    @property
    def stop_ids(self) -> tuple[int, ...]:
        """The tokens that end its outputs."""
        return self.tokenizer.end_ids(self.is_chat)

    @cached_property
    def token_bytes(self) -> Spell:
        """Gives the bytes of its tokens."""
        return make_spell(self.tokenizer)

    @cached_property
    def vocabulary(self) -> Vocabulary:
        """Its tokens, for grammars."""
        size = self.engine.model.config.vocab_size
        return Vocabulary(self.tokenizer, self.token_bytes, size, self.stop_ids)

    def render_text(self, text: str) -> list[int]:
        """The ids of a text to be continued; <|endoftext|> comes first, as before every document in
        training."""
        return [self.tokenizer.end_of_text_id, *self.tokenizer.encode(text)]


def load_model(
    directory: Path,
    device_name: DeviceName,
    slots: int = 1,
    quantize: QuantizeName = "none",
    adapter: Path | None = None,
) -> LoadedModel:
    """Reads a model directory, and starts compiling the native forward pass if this machine has
    not done so yet.

    Args:
        directory: the model's.
        device_name: as in the settings.
        slots: outputs at once.
        quantize: rounds the weights; only the native forward pass on a CPU gets faster.
        adapter: the directory of one, which is merged into the model.

    Raises:
        UserError: there is no such device or model.
    """
    device, stored = ready_device(directory, device_name, quantize)
    if adapter:
        model, tokenizer = load_adapted(directory, adapter, device, known=True, stored=stored)
        merge_adapter(model)
    else:
        model, tokenizer = load_pretrained(directory, device, known=True, stored=stored)
    engine = Engine(model, tokenizer, slots, quantize=quantize, keep_weights=False)
    return describe(engine, tokenizer, adapter or directory)


def load_adapters(
    directory: Path,
    adapters: Sequence[Path],
    device_name: DeviceName,
    slots: int = 1,
    quantize: QuantizeName = "none",
) -> list[LoadedModel]:
    """Adapters of one base, and last the base itself, in one engine: they share its weights, its
    slots and its cache. Arguments as of `load_model`.

    Raises:
        UserError: as of `load_model`; or two of them have the same name.
    """
    names = [path.resolve().name for path in (*adapters, directory)]
    if twice := [name for name in names if names.count(name) > 1]:
        raise UserError(f"--adapter: two models are called {twice[0]}: rename a directory")
    device, stored = ready_device(directory, device_name, quantize)
    model, tokenizer = load_pretrained(directory, device, known=True, stored=stored)
    adapted, tokenizers = {}, []
    for name, path in zip(names, adapters, strict=False):
        adapted[name] = sharing_copy(model)
        tokenizers.append(put_adapter(adapted[name], path, directory, tokenizer))
    engine = Engine(model, tokenizer, slots, quantize=quantize, adapted=adapted, keep_weights=False)
    served = [
        describe(engine, own, path, name)
        for own, path, name in zip(tokenizers, adapters, names, strict=False)
    ]
    return [*served, describe(engine, tokenizer, directory)]


def ready_device(
    directory: Path, device_name: DeviceName, quantize: QuantizeName
) -> tuple[torch.device, bool]:
    """The device for a model that is there; and whether its weights are to stay as they are stored,
    since the native forward pass, which takes them so, is ready. On a CPU it is compiled;
    rounded weights wait for that."""
    device = pick_device(device_name)
    if not is_adapter(directory):
        require_model(directory)
    if device.type != "cpu":
        return device, False
    LIBRARY.prepare()
    return device, LIBRARY.wait() if quantize != "none" else LIBRARY.code is not None


def describe(
    engine: Engine, tokenizer: EtudeTokenizer, directory: Path, adapter: str | None = None
) -> LoadedModel:
    """A model of an engine, with what is known of the directory that it, or its adapter, is
    from."""
    model = engine.models[adapter]
    facts = [f"{model.num_parameters() / 1e6:.1f}M parameters"]
    facts += [f"a context of {engine.context} tokens", f"on {engine.device}"]
    facts += [f"{engine.quantize} weights"] if engine.quantize != "none" else []
    name = directory.resolve().name
    title = f"{name}: {', '.join(facts)}"
    return LoadedModel(engine, tokenizer, name, is_chat_model(directory), title, adapter)


def require_model(directory: Path, remedy: str = DEMO) -> None:
    """Raises UserError, with the way to a model, when a directory holds no model."""
    if not (directory / "config.json").is_file():
        raise UserError(f"{directory}: there is no model here; {remedy}")
