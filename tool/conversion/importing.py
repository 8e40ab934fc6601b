"""What comes from elsewhere becomes an Etude model directory, if its proof holds.

Weights come one by one and are kept once, in the number format in which they are written: a model
that is brought in needs the memory of its weights, and of one matrix more. A tokenizer without the
tokens of the chat format gets them, and the embedding a row for each: the mean of the others, which
favours no token.
"""

from __future__ import annotations

import dataclasses
import datetime
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import torch
from tokenizers import AddedToken, Tokenizer
from torch import Tensor

from config import ModelConfig, UserError
from model.chat_template import END_OF_TEXT, ChatFormat
from model.directory.pretrained import (
    EMBEDDING,
    HEAD,
    check_weights,
    empty_model,
    model_files,
    weights_of,
)
from model.directory.storage import SUMMARY, changed_directory, json_writer
from model.directory.tensors import join_experts
from model.tokenizer import BORDERS, SPECIAL_TOKENS, EtudeTokenizer


@dataclass(frozen=True)
class Arrival:
    """A model that comes in."""

    place: Path
    """Where it lies."""
    shape: ModelConfig
    weights: Iterable[tuple[str, Tensor]]
    """Its weights, by the names of its stock class."""
    tokenizer: EtudeTokenizer
    added: tuple[str, ...]
    """Tokens of the chat format that its tokenizer did not have."""


@dataclass(frozen=True)
class ImportProof:
    """What was compared with the program that the model is from, and how close it was."""

    by: str
    """That program."""
    texts: int
    """Hard texts whose ids are equal, which is all of them; 0: none were compared."""
    renderings: int
    """Renderings of the model's own chat template whose ids are equal, which is all of them."""
    prompts: int
    measure: str
    """What is compared after each prompt: logits, or log-probabilities."""
    difference: float
    """The largest one, or the mean one where the other program rounds what it computes with."""
    rounded: bool
    """Whether it does."""
    tokens: int
    """Tokens of our greedy answers."""
    tokens_equal: int
    """Of these, how many the other chose too, up to its first other one."""


@dataclass(frozen=True)
class Imported:
    """What was brought in."""

    output_dir: Path
    parameters: int
    added_tokens: tuple[str, ...]
    """Tokens of the chat format that the tokenizer did not have."""
    proof: ImportProof | None
    """None: the program to compare with is not installed."""

    @property
    def renderings(self) -> int:
        """With how many renderings of its own chat template the other agrees; 0: it has none."""
        return self.proof.renderings if self.proof else 0

    def lines(self, source: Path) -> list[str]:
        """The import in words."""
        made, proof = self.output_dir, self.proof
        found = [f"{source} -> {made} ({self.parameters / 1e6:.1f}M parameters)"]
        if self.added_tokens:
            found.append(f"  the tokenizer got {', '.join(self.added_tokens)} for the chat format")
        if proof:
            template = f"  chat template  its own, {proof.renderings} renderings, all ids equal"
            found += [
                f"proof, by {proof.by}:",
                *([f"  token ids      {proof.texts} hard texts, all equal"] * bool(proof.texts)),
                *([template] * bool(proof.renderings)),
                f"  {proof.measure:<14} {'mean' if proof.rounded else 'largest'} difference "
                f"{proof.difference:.1e} ({proof.prompts} prompts)",
                f"  greedy tokens  {proof.tokens_equal} of {proof.tokens} equal",
            ]
        found.append(f"chat with it: python inference/inference.py --model_dir {made}")
        command = f"python train/train_sft.py --preset adapter --pretrained_model_dir {made}"
        return [*found, f"fine-tune it: {command} --sft_files my.jsonl"]


def refuse_to_replace(output_dir: Path, source: Path, overwrite: bool) -> None:
    """Raises UserError when the output directory must not be written."""
    if output_dir.resolve() == source.resolve():
        raise UserError(f"the output {output_dir} is the model itself; name another directory")
    if output_dir.exists() and not output_dir.is_dir():
        raise UserError(f"the output {output_dir} is a file; name a directory")
    if output_dir.exists() and any(output_dir.iterdir()) and not overwrite:
        raise UserError(
            f"the output {output_dir} is not empty: name another one, or use --overwrite"
        )


def bring_in(
    arrival: Arrival,
    output_dir: Path,
    dtype: torch.dtype,
    prove: Callable[[Path], ImportProof | None],
) -> Imported:
    """Writes the model directory.

    Args:
        arrival: what comes in.
        output_dir: where it goes.
        dtype: the number format of the weights there.
        prove: compares the directory, before it stands in its place, with where it is from.

    Raises:
        UserError: a weight is missing, too much or of another shape.
        ProofFailed: the proof does not hold; nothing is written.
    """
    tokenizer, tokens = arrival.tokenizer, len(arrival.tokenizer)
    shape = dataclasses.replace(arrival.shape, vocab_size=tokens)
    weights = join_experts(
        {name: with_rows(name, w.to(dtype), tokens) for name, w in arrival.weights}
    )
    check_weights(weights_of(empty_model(shape)), weights, arrival.place)
    parameters = sum(weight.numel() for weight in weights.values())
    is_chat = tokenizer.end_of_turn_id in tokenizer.chat_format.eos_ids
    place = str(arrival.place.resolve())
    summary = {"imported_from": place, "added_tokens": list(arrival.added)}
    files = model_files(shape, weights, tokenizer, summary, is_chat)
    with changed_directory(output_dir) as aside:
        for name, write in files.items():
            write(aside / name)
        del files, write  # and with them the weights, for the proof reads those that were written
        weights.clear()
        proof = prove(aside)
        stated = dataclasses.asdict(proof) if proof else None
        json_writer({**summary, "import_proof": stated})(aside / SUMMARY)
    return Imported(output_dir, parameters, arrival.added, proof)


def with_rows(name: str, weight: Tensor, tokens: int) -> Tensor:
    """A weight; of embedding and output layer as many rows as there are tokens: the mean of the
    others for a new one, without the rows that padding has added."""
    if name not in (EMBEDDING, HEAD) or len(weight) == tokens:
        return weight
    new = weight.mean(dim=0, keepdim=True).expand(max(0, tokens - len(weight)), -1)
    return torch.cat([weight[:tokens], new])


def fitted(backend: Tokenizer, chat_format: ChatFormat) -> tuple[EtudeTokenizer, tuple[str, ...]]:
    """A tokenizer with the tokens that its chat format needs, and those that were added. A template
    that prints the date gets today's for good."""
    if "strftime_now" in chat_format.template and chat_format.date == ChatFormat.date:
        today = datetime.date.today().isoformat()
        chat_format = dataclasses.replace(chat_format, date=today)
    needed: tuple[str, ...] = SPECIAL_TOKENS
    if not chat_format.is_etudes:  # its template has tokens of its own
        known = any(backend.token_to_id(token) is not None for token in BORDERS)
        needed = () if known else (END_OF_TEXT,)
    added = tuple(token for token in needed if backend.token_to_id(token) is None)
    backend.add_special_tokens([AddedToken(token, special=True) for token in added])
    return EtudeTokenizer(backend, chat_format), added
