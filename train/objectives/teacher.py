"""The model to learn from: an Etude, or any causal language model that transformers reads and that
has the student's tokens. It is in memory only from when it is first asked.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer
from torch import Tensor, nn

from config import DistillConfig, UserError
from model.directory.adapter_files import ADAPTER_WEIGHTS, base_directory, is_adapter
from model.directory.pretrained import load_pretrained, weight_files
from model.directory.storage import read_object_if_there, recover, sha256_of
from model.families import FAMILIES
from model.tokenizer import EtudeTokenizer
from model.transformer import Etude
from train.data.batches import IGNORED, Batch
from train.distributed import World
from train.objective import logits_in_chunks

OTHER_VOCABULARY = (
    "distillation compares token by token. Learn from its answers as text: make SFT data of them "
    "with `python tool/answer_file.py`"
)


class Teacher:
    """Says how likely tokens are."""

    def __init__(self, config: DistillConfig, tokenizer: EtudeTokenizer, world: World) -> None:
        """Looks whether it can teach a student that has this tokenizer.

        Raises:
            UserError: there is no model, or it has another vocabulary or too short a context.
        """
        assert config.teacher_dir
        self.directory, self.config, self.world = config.teacher_dir, config, world
        self.vocabulary = len(tokenizer)
        if config.top_k > self.vocabulary:
            raise UserError(
                f"--top_k {config.top_k} is more than the {self.vocabulary} tokens that there are"
            )
        refuse_unfit(self.directory, tokenizer, config.max_length)
        self.sha256 = teacher_sha256(self.directory)
        self.network: nn.Module | None = None

    @torch.no_grad()
    def targets(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """What it says at the trained positions of a batch on the device, in their order, with
        products in float32.

        Returns:
            (trained, k) the ids of its likeliest tokens, and (trained, k + 1) their
            log-probabilities at the temperature, that of all other tokens last.
        """
        if self.network is None:
            self.network = load_network(self.directory).to(self.world.device)
        k = self.config.top_k
        empty = torch.empty(0, k, dtype=torch.int64), torch.empty(0, k + 1)
        found = [tuple(part.to(self.world.device) for part in empty)]
        for logits in logits_of(self.network, batch):  # (some tokens, vocab)
            # A vocabulary padded for speed has more tokens than the tokenizer.
            found.append(top(logits[:, : self.vocabulary] / self.config.temperature, k))
        ids, log_probs = zip(*found, strict=True)
        return torch.cat(ids), torch.cat(log_probs)


def top(logits: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """(tokens, k) and (tokens, k + 1) out of (tokens, vocab); see `Teacher.targets`."""
    log_probs = logits.log_softmax(dim=-1)
    values, ids = log_probs.topk(k, dim=-1)
    tail = log_probs.scatter(1, ids, -torch.inf).logsumexp(dim=-1, keepdim=True)
    return ids, torch.cat([values, tail], dim=1)


def refuse_unfit(directory: Path, tokenizer: EtudeTokenizer, max_length: int) -> None:
    """Raises UserError when there is no teacher, or it cannot teach."""
    whole = base_directory(directory) if is_adapter(directory) else directory
    recover(whole)
    fields, file = read_object_if_there(whole / "config.json"), whole / "tokenizer.json"
    if not fields:
        raise UserError(f"--teacher_dir {directory}: there is no model here; name its directory")
    if not file.is_file():
        raise UserError(f"{file} is missing: the student's tokens cannot be compared with it")
    try:
        vocabulary = Tokenizer.from_file(str(file)).get_vocab()
    except Exception as error:  # tokenizers raises plain Exception
        raise UserError(f"{file}: not a readable tokenizer ({error})") from error
    own = tokenizer.backend.get_vocab()
    if vocabulary != own:
        strange = len(own.items() ^ vocabulary.items())
        raise UserError(
            f"--teacher_dir {directory}: its vocabulary is not the student's ({len(vocabulary):,} "
            f"tokens and {len(own):,}, {strange:,} of them different), and {OTHER_VOCABULARY}"
        )
    context = fields.get("max_position_embeddings", fields.get("n_positions", max_length))
    if max_length > context:
        raise UserError(
            f"--max_length {max_length} is more than the context of the teacher {directory}: use "
            f"at most {context}"
        )


def teacher_sha256(directory: Path) -> str:
    """Fingerprint of the files of its weights; of an adapter with those of its base."""
    files = weight_files(directory)
    if is_adapter(directory):
        files = [directory / ADAPTER_WEIGHTS, *weight_files(base_directory(directory))]
    if missing := [path for path in files if not path.is_file()]:
        raise UserError(f"{missing[0]} is missing: restore the files of the teacher")
    return hashlib.sha256(" ".join(map(sha256_of, files)).encode()).hexdigest()


def load_network(directory: Path) -> nn.Module:
    """The network in float32: Etude's own where it is of such a family, else that of
    transformers."""
    kind = read_object_if_there(directory / "config.json").get("model_type", "llama")
    if kind in FAMILIES:
        return load_pretrained(directory)[0]
    from transformers import AutoModelForCausalLM  # takes seconds

    try:
        loaded: nn.Module = AutoModelForCausalLM.from_pretrained(
            directory, local_files_only=True, dtype=torch.float32, use_safetensors=True
        )
    except Exception as error:  # whatever transformers raises
        raise UserError(
            f"--teacher_dir {directory}: transformers cannot read this {kind} ({error})"
        ) from error
    return loaded.eval()


def logits_of(network: Any, batch: Batch) -> Iterator[Tensor]:
    """The logits at the trained positions of a batch, (some tokens, vocab) at a time."""
    trained = batch.labels != IGNORED
    if isinstance(network, Etude):
        hidden = network.model(batch.input_ids, document_ids=batch.document_ids)[trained]
        yield from (logits for _, logits in logits_in_chunks(hidden, network.lm_head.weight))
        return
    # Each document on its own, for other networks know no borders in a row.
    documents = batch.document_ids
    for row, marks in enumerate(trained):
        ids = torch.zeros_like(marks, dtype=torch.int64) if documents is None else documents[row]
        for number in sorted(set(ids.tolist())):
            inside = ids == number
            if marks[inside].any():
                logits = network(input_ids=batch.input_ids[row][inside][None]).logits[0]
                yield logits[marks[inside]].float()
