"""Answers to all prompts of files, in their order, resumable to the byte.

Answer n has the seed of the settings plus n. Finished answers wait until all before them are
finished, and are then appended to OUTPUT.part; how many there are, and where the file ends then,
stands in OUTPUT.part.json, written after them. So what an interruption left half written is cut off
and made again, and the finished file takes its place in one step.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

from config import UserError
from data_process.records.files import find_files
from data_process.records.jsonl import Record, read_records
from data_process.records.kinds import CONVERSATION_EXAMPLE, conversation_of, described
from data_process.running.step import progress
from inference.engine.answers import GenerationOutput, GenerationRequest
from inference.engine.loading import LoadedModel, load_model
from inference.engine.native import LIBRARY
from inference.engine.sampler import with_seed
from model.chat import Message, message_problems, render_prompt
from model.directory.storage import (
    explained,
    json_writer,
    jsonl_text,
    read_object_if_there,
    replace_file,
    sha256_of,
)
from tool.settings import AnswerConfig

SAVE_SECONDS = 0.5


@dataclass
class Counts:
    """What became of the answers."""

    done: int = 0
    """Answers that were made or left out."""
    size: int = 0
    """Bytes of those that were written."""
    written: int = 0
    cut: int = 0
    """Left out because they did not end by themselves."""
    empty: int = 0
    too_long: int = 0
    """Prompts that leave no room in the context, times their answers."""
    tokens: int = 0
    seconds: float = 0.0

    def sentence(self, config: AnswerConfig) -> str:
        """All of it in one line."""
        left = {
            "not ended by themselves": self.cut,
            "empty": self.empty,
            "without room in the model's context": self.too_long,
        }
        parts = "".join(f", {count:,} {why}" for why, count in left.items() if count)
        speed = self.tokens / max(self.seconds, 1e-9)
        return (
            f"{self.written:,} answers in {config.output}"
            f"{f' (left out: {parts[2:]})' if parts else ''}; {self.tokens:,} tokens in "
            f"{self.seconds:.0f} s ({speed:,.0f} tokens/s)"
        )


@dataclass
class Job:
    """A prompt to be answered once."""

    turns: list[Message]
    output: GenerationOutput | None
    """None: it leaves no room for an answer."""

    @property
    def is_done(self) -> bool:
        """Whether its answer has ended."""
        return self.output is None or self.output.finish_reason is not None


def answer_files(config: AnswerConfig) -> Counts:
    """Answers all prompts, from where an earlier start was interrupted.

    Raises:
        UserError: there is no such model or file, a record is malformed (file:line), the output is
            there, or an interrupted run was one of other settings.
    """
    part = config.output.with_name(f"{config.output.name}.part")
    if config.output.exists() and not part.exists():  # what a kill at the very end leaves
        state_of(part).unlink(missing_ok=True)
    if config.output.exists() and not config.overwrite:
        raise UserError(f"{config.output} is there: name another --output, or use --overwrite")
    files = find_files(config.input_files)
    model = load_model(config.model_dir, config.device, config.slots, config.quantize)
    if not model.is_chat:
        raise UserError(f"{config.model_dir}: this model only continues texts: name a chat model")
    if model.engine.native:  # else answers would change in the middle of a run
        LIBRARY.wait()
    with explained(config.output):
        config.output.parent.mkdir(parents=True, exist_ok=True)
        work = Work(config, model, part)
        for path in files:  # all of them are looked through before the first answer
            for _ in read_records(path, prompt_problems):
                pass
        with part.open("ab") as file:
            file.truncate(work.counts.size)
        work.run(islice(work.jobs(files), work.counts.done, None))
        os.replace(part, config.output)
        work.state.unlink(missing_ok=True)
    return work.counts


def state_of(part: Path) -> Path:
    """The file that says how far the answers in another one go."""
    return part.with_name(f"{part.name}.json")


@dataclass
class Work:
    """A start of the work."""

    config: AnswerConfig
    model: LoadedModel
    part: Path
    counts: Counts = field(default_factory=Counts)

    def __post_init__(self) -> None:
        """Finds out where an earlier start was interrupted."""
        self.state = state_of(self.part)
        free = {"output", "overwrite", "slots", "device", "model_dir", "input_files"}
        kept = {k: v for k, v in dataclasses.asdict(self.config).items() if k not in free}
        prints = [sha256_of(path) for path in find_files(self.config.input_files)]
        digest = hashlib.sha256(json.dumps([kept, prints]).encode())
        for weights in sorted(self.config.model_dir.glob("*.safetensors")):
            digest.update(sha256_of(weights).encode())
        self.identity = digest.hexdigest()
        saved = read_object_if_there(self.state)
        if not saved or not self.part.exists():
            return
        if saved["identity"] != self.identity:
            raise UserError(
                f"{self.part} was begun with another model, data or settings: go on with those, "
                "name another --output, or remove it"
            )
        self.counts = Counts(**saved["counts"])

    def jobs(self, files: list[Path]) -> Iterator[tuple[Record, int]]:
        """Each record, as often as it is answered, with the number of the answer."""
        records = (found for path in files for found in read_records(path, prompt_problems))
        for number, record in enumerate(records):
            for answer in range(self.config.answers):
                yield record, number * self.config.answers + answer

    def run(self, jobs: Iterator[tuple[Record, int]]) -> None:
        """Answers; at all times about twice as many as there are slots are under way."""
        engine, under_way = self.model.engine, list[Job]()
        began, saved = time.perf_counter() - self.counts.seconds, time.perf_counter()
        with progress(None, "answers", initial=self.counts.done) as bar:
            while True:
                room = 2 * self.config.slots - len(engine.queue) - engine.running
                new = [self.job(*found) for found in islice(jobs, max(0, room))]
                under_way += new
                if not under_way:
                    break
                if engine.busy:
                    engine.step()
                self.counts.seconds = time.perf_counter() - began
                last = not engine.busy and not new
                if last or time.perf_counter() - saved > SAVE_SECONDS:
                    waiting = (n for n, job in enumerate(under_way) if not job.is_done)
                    count = next(waiting, len(under_way))
                    finished, under_way = under_way[:count], under_way[count:]
                    bar.update(len(finished))
                    self.write(finished)
                    saved = time.perf_counter()

    def job(self, record: Record, number: int) -> Job:
        """A prompt on its way through the engine."""
        turns = prompt_of(record.value)
        ids = render_prompt(self.model.tokenizer, turns)
        if len(ids) >= self.model.engine.context:
            return Job(turns, None)
        sampling = with_seed(self.config.sampling, number)
        return Job(
            turns, self.model.engine.submit(GenerationRequest(ids, sampling, self.model.stop_ids))
        )

    def write(self, jobs: list[Job]) -> None:
        """Appends answers, then notes how many there are."""
        records = [found for job in jobs if (found := self.record(job))]
        with self.part.open("ab") as file:
            file.write(jsonl_text(records).encode("utf-8"))
            file.flush()
            os.fsync(file.fileno())
            self.counts.size = file.tell()
        self.counts.written += len(records)
        noted = {"identity": self.identity, "counts": dataclasses.asdict(self.counts)}
        replace_file(self.state, json_writer(noted))

    def record(self, job: Job) -> dict[str, Any] | None:
        """The conversation with its answer; None: it is left out, and counted."""
        self.counts.done += 1
        output = job.output
        if output is None:
            self.counts.too_long += 1
            return None
        self.counts.tokens += len(output.tokens)
        if output.finish_reason != "stop" and not self.config.keep_cut:
            self.counts.cut += 1
            return None
        if not output.text.strip():
            self.counts.empty += 1
            return None
        return {
            "conversations": [*job.turns, {"role": "assistant", "content": output.text.strip()}]
        }


def prompt_problems(record: dict[str, Any]) -> Iterator[str]:
    """What is wrong with a record as something to answer."""
    turns = conversation_of(record)
    if turns is None:
        yield f"found {described(record)}; a line must be {CONVERSATION_EXAMPLE}"
        return
    found = list(message_problems(turns))
    yield from found
    if not found and not any(turn["role"] == "user" for turn in turns):
        yield "no user's turn, so nothing to answer; add one"


def prompt_of(record: dict[str, Any]) -> list[Message]:
    """The turns up to the last user's, with what training knows of them."""
    turns: list[Message] = [
        {"role": turn["role"], "content": turn["content"]} for turn in conversation_of(record)
    ]
    last = max(n for n, turn in enumerate(turns) if turn["role"] == "user")
    return turns[: last + 1]
