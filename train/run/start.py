"""What a run starts from: the weights of another model."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import torch

from config import PRESETS, EtudeConfig, LoraConfig, ModelConfig, PathConfig, TrainConfig, UserError
from model.directory.pretrained import load_pretrained, weights_sha256
from model.tokenizer import EtudeTokenizer
from model.transformer import Etude
from train.distributed import World
from train.run.limits import refuse_too_large


def starting_model(
    start: Path, output_dir: Path, settings: TrainConfig, world: World, lora: LoraConfig
) -> tuple[Etude, EtudeTokenizer]:
    """The model and the tokenizer that a stage after pretraining starts from.

    Raises:
        UserError: there is no model, it is the one to write, or a step does not fit: in its context
            or in memory.
    """
    refuse_own_directory(start, output_dir)
    model, tokenizer = load_pretrained(start, stored=lora.weights != "float32")
    refuse_long_rows(settings.max_length, model.config)
    refuse_too_large(model.config, settings, world, lora)
    return model, tokenizer


def student(
    config: EtudeConfig, world: World
) -> tuple[Etude, EtudeTokenizer, Path | None, dict[str, str]]:
    """The model that distillation starts from: a new one, or a trained one.

    Returns:
        The model, its tokenizer, the directory that it was read from (None: it is new), and
        fingerprints of what the run builds on.
    """
    settings, paths = config.distill, config.paths
    if not settings.is_new:
        usual = paths.sft_model_dir if settings.on_policy else paths.pretrained_model_dir
        start = settings.init_from or usual
        output = paths.distilled_model_dir
        model, tokenizer = starting_model(start, output, settings, world, config.lora)
        return model, tokenizer, start, {"model to start from": weights_sha256(start)}
    tokenizer = EtudeTokenizer.load(paths.tokenizer_dir)
    shape = dataclasses.replace(config.model, vocab_size=len(tokenizer))
    refuse_too_large(shape, settings, world)
    model = Etude(shape)
    model.initialize(torch.Generator().manual_seed(settings.seed))
    return model, tokenizer, None, {}


def initial_model(directory: Path, config: EtudeConfig) -> tuple[Etude, EtudeTokenizer]:
    """The model and the tokenizer that pretraining goes on from.

    Raises:
        UserError: there is no model, or what was asked for (a shape, a tokenizer, a context) is not
            what it has.
    """
    refuse_own_directory(directory, config.paths.pretrained_model_dir)
    model, tokenizer = load_pretrained(directory)
    default, found = PRESETS[config.preset]().model, model.config
    for item in dataclasses.fields(ModelConfig):
        asked, has = getattr(config.model, item.name), getattr(found, item.name)
        if asked not in (has, getattr(default, item.name)):
            raise UserError(
                f"--{item.name} is {asked}, but the model of --init_from {directory} has {has}: "
                "leave it out"
            )
    place = config.paths.tokenizer_dir
    named = place != PathConfig.tokenizer_dir
    if named and EtudeTokenizer.load(place).fingerprint != tokenizer.fingerprint:
        raise UserError(
            f"--tokenizer_dir {place} is not the tokenizer of --init_from {directory}, whose "
            "weights mean its own tokens: leave --tokenizer_dir out"
        )
    refuse_long_rows(config.pretrain.max_length, found)
    return model, tokenizer


def refuse_own_directory(start: Path, output_dir: Path) -> None:
    """Raises UserError when a run would write over the model that it starts from."""
    if start.resolve() == output_dir.resolve():
        raise UserError(
            f"{output_dir} is the model to start from and the directory to write: name another "
            "model directory to write"
        )


def refuse_long_rows(max_length: int, shape: ModelConfig) -> None:
    """Raises UserError when rows are longer than the context of a model."""
    if max_length > shape.max_position_embeddings:
        raise UserError(
            f"--max_length {max_length} is more than the model's context: use at most "
            f"{shape.max_position_embeddings}"
        )
