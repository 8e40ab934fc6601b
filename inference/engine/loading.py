"""From a model directory to an engine that is ready to answer."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from config import DeviceName, QuantizeName, UserError
from inference.engine.answers import Spell, make_spell
from inference.engine.engine import Engine
from inference.engine.native import LIBRARY, quantize_model
from model.device import pick_device
from model.directory.pretrained import is_chat_model, load_pretrained
from model.tokenizer import EtudeTokenizer

DEMO = (
    "name its directory with --model_dir, or run `make demo`, which trains a small one, and use "
    "`--model_dir weight/demo/etude_sft_model`"
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

    @property
    def stop_ids(self) -> tuple[int, ...]:
        """The tokens that end its outputs."""
        return self.tokenizer.end_ids(self.is_chat)

    @cached_property
    def token_bytes(self) -> Spell:
        """Gives the bytes of its tokens."""
        return make_spell(self.tokenizer)

    def render_text(self, text: str) -> list[int]:
        """The ids of a text to be continued; <|endoftext|> comes first, as before every document in
        training."""
        return [self.tokenizer.end_of_text_id, *self.tokenizer.encode(text)]


def load_model(
    directory: Path, device_name: DeviceName, slots: int = 1, quantize: QuantizeName = "none"
) -> LoadedModel:
    """Reads a model directory, and starts compiling the native forward pass if this machine has
    not done so yet.

    Args:
        directory: the model's.
        device_name: as in the settings.
        slots: outputs at once.
        quantize: int8 rounds the weights; only the native forward pass on a CPU gets faster.

    Raises:
        UserError: there is no such device or model.
    """
    device = pick_device(device_name)
    require_model(directory)
    if device.type == "cpu":
        LIBRARY.prepare()
    model, tokenizer = load_pretrained(directory, device)
    quantized = quantize_model(model) if quantize == "int8" else None
    engine = Engine(model, tokenizer, slots, quantized=quantized)
    facts = [f"{model.num_parameters() / 1e6:.1f}M parameters"]
    facts += [f"a context of {engine.context} tokens", f"on {device}"]
    facts += ["int8 weights"] if quantized else []
    name = directory.resolve().name
    title = f"{name}: {', '.join(facts)}"
    return LoadedModel(engine, tokenizer, name, is_chat_model(directory), title)


def require_model(directory: Path, remedy: str = DEMO) -> None:
    """Raises UserError, with the way to a model, when a directory holds no model."""
    if not (directory / "config.json").is_file():
        raise UserError(f"{directory}: there is no model here; {remedy}")
