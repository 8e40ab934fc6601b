"""Tokenising one part of a data file. This runs in worker processes, so torch is not imported.

A part becomes a directory of streams: `train`, and for each script `validation-han`,
`validation-latin` and `validation-other`, as far as there are documents. Each has its tokens, for
conversations the mask of trained ones, and a table of documents.

A tokenizer needs more than a hundred bytes of memory for every token of a text it encodes. So a
text of megabytes, a whole book in one record, is encoded piece by piece, cut only where the
tokenizer would cut it too: after a line break that a visible character follows, or before a space
between two letters. Elsewhere a cut could change the tokens beside it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from itertools import islice
from pathlib import Path
from typing import IO, Any, Literal

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from config import TrainOnName, UserError
from data_process.records.jsonl import (
    FilePart,
    Preference,
    read_conversations,
    read_labelled,
    read_pairs,
    read_texts,
)
from data_process.records.opening import shown
from model.chat import frame_batch, render_batch
from model.chat_renderer import UnfitConversation
from model.chat_template import ChatFormat
from model.conversation import Message, said
from model.directory.storage import DamagedDirectory, new_directory, verify
from model.tokenizer import EtudeTokenizer, script_of

PIECE_CHARACTERS = 1 << 17
SAFE_CUT = re.compile(r"(?<=\n)(?=\S)|(?<=[^\W\d_])(?= [^\W\d_])")
"""Between two pre-tokens of `train.tokenizer.bpe.QWEN2_PATTERN`, whatever lies around."""


def encode_texts(
    tokenizer: EtudeTokenizer, texts: Sequence[str], dtype: np.dtype[Any]
) -> Iterator[NDArray[Any]]:
    """Token ids of texts, never a control token, in a number format that holds them."""
    short = [text for text in texts if len(text) <= PIECE_CHARACTERS]
    encoded = iter(tokenizer.encode_batch(short))
    for text in texts:
        if len(text) <= PIECE_CHARACTERS:
            yield np.array(next(encoded), dtype)
        else:
            yield encode_long(tokenizer, text, dtype)


def encode_long(tokenizer: EtudeTokenizer, text: str, dtype: np.dtype[Any]) -> NDArray[Any]:
    """Token ids of one long text, some pieces at a time."""
    pieces = pieces_of(text, PIECE_CHARACTERS)
    ids = []
    while some := list(islice(pieces, 8)):
        ids += [np.array(piece, dtype) for piece in tokenizer.encode_batch(some)]
    return np.concatenate(ids)


def pieces_of(text: str, size: int) -> Iterator[str]:
    """Consecutive pieces of a text, each cut at the first safe place after `size` characters."""
    begin = 0
    while begin < len(text):
        found = SAFE_CUT.search(text, begin + size)
        end = found.start() if found else len(text)
        yield text[begin:end]
        begin = end


BORDER = 2
"""In a mask, as `train.data.batches` has it (which takes torch): a document ends here."""
STREAMS = ("train", "validation-han", "validation-latin", "validation-other")
DOCUMENT = np.dtype(
    [
        ("begin", "<i8"),  # position of its first token in the stream
        ("length", "<u4"),  # tokens
        ("num_bytes", "<u4"),  # UTF-8 bytes of what is trained; 0: an answer labelled as bad
        ("first_trained", "<u4"),  # its first trained token, counted from its beginning
        ("num_trained", "<u4"),  # trained tokens
    ]
)
"""What a stream's table holds of each document."""
CHUNK_RECORDS = 1_000
CHUNK_CHARACTERS = 1 << 20


@dataclass(frozen=True)
class Document:
    """One tokenised record."""

    ids: NDArray[Any]
    """(tokens,)."""
    mask: NDArray[np.uint8] | None
    """(tokens,) 1 where a token is trained, BORDER between two answers; None: all are trained."""
    text: str
    """What is trained."""
    wanted: bool = True
    """False: an answer labelled as bad, whose bytes do not count."""


KindName = Literal["pretrain", "sft", "preference", "labelled"]
Read = Callable[[FilePart], Iterator[tuple[int, Any]]]
Tokenise = Callable[[EtudeTokenizer, Sequence[Any], np.dtype[Any]], Iterator[list[Document]]]


def tokenise_texts(
    tokenizer: EtudeTokenizer, texts: Sequence[str], dtype: np.dtype[Any]
) -> Iterator[list[Document]]:
    """Documents of texts."""
    for ids, text in zip(encode_texts(tokenizer, texts, dtype), texts, strict=True):
        yield [Document(ids, None, text)]


def tokenise_conversations(
    tokenizer: EtudeTokenizer,
    conversations: Sequence[Any],
    dtype: np.dtype[Any],
    train_on: TrainOnName = "all",
) -> Iterator[list[Document]]:
    """Documents of conversations; trained are the assistant's answers and the tokens that end
    them. Where the chat template changes earlier answers, a conversation has several."""
    for samples in render_batch(tokenizer, conversations, train_on):
        yield [
            Document(np.array(found.ids, dtype), np.array(found.mask, np.uint8), found.answers)
            for found in samples
        ]


def tokenise_preferences(
    tokenizer: EtudeTokenizer, records: Sequence[Preference], dtype: np.dtype[Any]
) -> Iterator[list[Document]]:
    """Documents of two answers each to a prompt, a border between them, so that they are packed as
    one piece: chosen and rejected; or a labelled answer, and for the KL term of KTO the answer to
    the prompt before."""
    others = [records[number - 1].answers[0] for number in range(len(records))]
    pairs = [(*record.answers, other)[:2] for record, other in zip(records, others, strict=True)]
    conversations = [
        record.prompt._replace(
            messages=[*record.prompt.messages, Message(role="assistant", content=answer)]
        )
        for record, pair in zip(records, pairs, strict=True)
        for answer in pair
    ]
    try:
        rendered = iter(frame_batch(tokenizer, conversations, "last"))
    except UnfitConversation as error:
        raise UnfitConversation(str(error), error.number // 2) from error
    for record in records:
        (first,), (second,) = next(rendered), next(rendered)  # one sample each: the last answer's
        ids = [*first.ids, tokenizer.end_of_text_id, *second.ids]
        mask = np.array([*first.mask, BORDER, *second.mask], np.uint8)
        yield [Document(np.array(ids, dtype), mask, first.answers, record.wanted)]


def functions_of(kind: KindName, train_on: TrainOnName) -> tuple[Read, Tokenise]:
    """What reads the records of files of a kind, and what tokenises them."""
    if kind == "sft":
        return read_conversations, partial(tokenise_conversations, train_on=train_on)
    if kind == "pretrain":
        return read_texts, tokenise_texts
    return read_pairs if kind == "preference" else read_labelled, tokenise_preferences


@dataclass(frozen=True)
class Part:
    """A piece of the work."""

    number: int
    """From 0, over all files."""
    lines: FilePart
    records_before: int
    """Over all files."""
    is_validation: bool = False
    """All of it is measured, and none of it trained."""


@dataclass(frozen=True)
class PartBuilder:
    """Tokenises parts into directories; it can be sent to another process."""

    kind: KindName
    tokenizer_json: str
    validation_every: int
    """Every n-th record, over all files, goes to validation; 0: none does."""
    directory: Path
    """Where the parts' directories go."""
    train_on: TrainOnName = "all"
    """Which answers of a conversation are trained."""
    chat_format: ChatFormat | None = None
    """How conversations are written; Etude's ChatML when not given."""

    @cached_property
    def tokenizer(self) -> EtudeTokenizer:
        """The tokenizer, made once in each process."""
        return EtudeTokenizer(Tokenizer.from_str(self.tokenizer_json), self.chat_format)

    def __call__(self, part: Part) -> None:
        """Writes a part's directory whole or not at all; one that is there and undamaged is kept.

        Raises:
            UserError: a line is malformed (file:line), or the disk is full.
        """
        place = part_directory(self.directory, part)
        try:
            verify(place)
        except DamagedDirectory:
            with new_directory(place) as aside:
                self.write(aside, part)

    def write(self, directory: Path, part: Part) -> None:
        """Reads, tokenises and writes the records of a part."""
        read, tokenise = functions_of(self.kind, self.train_on)
        dtype = token_dtype(self.tokenizer)
        border = self.tokenizer.end_of_text_id
        writers = {name: StreamWriter(directory, name, border, dtype) for name in STREAMS}
        count = part.records_before
        for chunk in chunks(read(part.lines)):
            records = [record for _, record in chunk]
            try:
                for documents in tokenise(self.tokenizer, records, dtype):
                    count += 1
                    every = self.validation_every
                    held_back = part.is_validation or (every > 0 and count % every == 0)
                    for document in documents:
                        script = script_of(document.text) if held_back else ""
                        writers[f"validation-{script}" if held_back else "train"].add(document)
            except UnfitConversation as error:
                place = f"{shown(part.lines.path)}:{chunk[error.number][0]}"
                raise UserError(f"{place}: {error}") from error
        for writer in writers.values():
            writer.close()


def part_directory(directory: Path, part: Part) -> Path:
    """Where a part's streams lie."""
    return directory / f"part-{part.number:05d}"


def token_dtype(tokenizer: EtudeTokenizer) -> np.dtype[Any]:
    """The smallest number format that holds every token."""
    return np.dtype("<u2" if len(tokenizer) <= 1 << 16 else "<u4")


def chunks(records: Iterator[tuple[int, Any]]) -> Iterator[list[tuple[int, Any]]]:
    """Consecutive records with their lines, so many that they are worth a call and fit in
    memory."""
    chunk: list[tuple[int, Any]] = []
    size = 0
    for line, record in records:
        chunk.append((line, record))
        size += sum(map(len, texts_of(record)))
        if len(chunk) == CHUNK_RECORDS or size >= CHUNK_CHARACTERS:
            yield chunk
            chunk, size = [], 0
    if chunk:
        yield chunk


def texts_of(record: Any) -> list[str]:
    """The texts of a record: its own, those of its turns, or of its prompt and answers."""
    if isinstance(record, str):
        return [record]
    if isinstance(record, Preference):
        return [*texts_of(record.prompt), *record.answers]
    return [said(message) for message in record.messages]


class StreamWriter:
    """Writes one stream of a part: each document, and a border after it."""

    def __init__(self, directory: Path, name: str, border: int, dtype: np.dtype[Any]) -> None:
        self.directory, self.name = directory, name
        self.border = np.array([border], dtype)
        self.files: dict[str, IO[bytes]] = {}
        self.rows: list[tuple[int, int, int, int, int]] = []
        self.position = 0

    def add(self, document: Document) -> None:
        """Appends a document."""
        length, mask = len(document.ids), document.mask
        self.append("tokens", document.ids, self.border)
        first, trained = 0, length
        if mask is not None:
            self.append("mask", mask, np.zeros(1, np.uint8))
            first, trained = int((mask == 1).argmax()), int((mask == 1).sum())
        num_bytes = len(document.text.encode("utf-8")) if document.wanted else 0
        self.rows.append((self.position, length, num_bytes, first, trained))
        self.position += length + 1

    def append(self, kind: str, values: NDArray[Any], end: NDArray[Any]) -> None:
        """Appends values and what follows them to a file, which the first ones make."""
        if kind not in self.files:
            self.files[kind] = (self.directory / f"{self.name}.{kind}.bin").open("wb")
        self.files[kind].write(values.tobytes())
        self.files[kind].write(end.tobytes())

    def close(self) -> None:
        """Ends the files and writes the table, if there is a document."""
        for file in self.files.values():
            file.close()
        if self.rows:
            np.save(self.directory / f"{self.name}.documents.npy", np.array(self.rows, DOCUMENT))
