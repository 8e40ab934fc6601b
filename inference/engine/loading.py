"""From a model directory to an engine that is ready to answer."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from config import DeviceName, QuantizeName, UserError
from inference.engine.engine import Engine
from inference.engine.native import LIBRARY
from inference.engine.quantization import quantize_model
from model.device import pick_device
from model.directory.pretrained import is_chat_model, load_pretrained
from model.tokenizer import EtudeTokenizer

DEMO = (
    "name its directory with --model_dir, or run `make demo`, which trains a small one, and use "
    "`--model_dir weight/demo/etude_sft_model`"
)


@dataclass(frozen=True)
class LoadedModel:
    """A model that answers."""

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
        """The tokens that end its answers."""
        return self.tokenizer.end_ids(self.is_chat)


def load_model(
    directory: Path, device_name: DeviceName, slots: int = 1, quantize: QuantizeName = "none"
) -> LoadedModel:
    """Reads a model directory, and begins to compile the native forward pass where that was never
    done on this machine.

    Args:
        directory: the model's.
        device_name: as in the settings.
        slots: answers at once.
        quantize: int8 rounds the weights; only the native forward pass on a CPU is faster by it.

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
    """Raises UserError, with the way to a model, when a directory holds none."""
    if not (directory / "config.json").is_file():
        raise UserError(f"{directory}: there is no model here; {remedy}")
