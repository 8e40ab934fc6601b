"""Shows a conversation, or a packed row, token by token with what is trained of it.

python show_mask.py --record 3

Trained tokens have a + (and are green in a terminal), others a - (and are dim).
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from cli import parse_flags, run_script
from config import TrainOnName, UserError
from data_process.records.jsonl import read_conversations
from inference.engine.answers import make_spell
from inference.terminal.console import padded
from model.chat import render_batch
from model.chat_renderer import UnfitConversation
from model.conversation import Conversation
from model.tokenizer import EtudeTokenizer
from terminal import has_colours, output_is_the_result
from tool.settings import ShowMaskConfig
from train.data.mixing import split_weights

if TYPE_CHECKING:
    from train.data.batches import Batch, TokenRows

GREEN, BOLD_GREEN, YELLOW, DIM, RESET = "\x1b[32m", "\x1b[1;32m", "\x1b[33m", "\x1b[2m", "\x1b[0m"
CONVERSATION_HEAD = f"{'place':>6} {'id':>7}  ±  {'role':<9}  text (+ trained, - not)"
ROW_HEAD = f"{'place':>6} {'document':>8} {'id':>7}  {'text':<18}  ±  label (+ trained, - none)"


def main() -> None:
    """Reads the command line and shows a conversation or a row."""
    config = parse_flags(ShowMaskConfig(), __doc__)
    tokenizer = EtudeTokenizer.load(config.tokenizer_dir)
    if config.row is None:
        files, _ = split_weights(config.sft_files)
        place, conversation = find_conversation(files, config.record)
        try:
            samples = conversation_lines(tokenizer, conversation, config.train_on)
        except UnfitConversation as error:
            raise UserError(f"{place}: {error}") from error
        shown = [(lines, conversation_total(lines, config.max_length)) for lines in samples]
        head = f"{place}\n{CONVERSATION_HEAD}"
        if len(samples) > 1:
            head = f"{place}: {len(samples)} samples, as later turns change earlier ones\n{head}"
    else:
        rows = open_rows(config, tokenizer)
        batch = read_row(rows, config.row)
        head = ROW_HEAD
        shown = [(row_lines(tokenizer, batch), row_total(tokenizer, batch, len(rows)))]
    output_is_the_result()
    in_colour = has_colours(sys.stdout)
    print(head)
    for lines, total in shown:
        print(*(line.painted(in_colour) for line in lines), total, sep="\n")


@dataclass(frozen=True)
class Line:
    """A token as it is shown."""

    text: str
    trained: bool
    control: bool = False

    def painted(self, in_colour: bool) -> str:
        """The line for a terminal: green when trained (bold: a control token), else dim (yellow: a
        control token)."""
        if not in_colour:
            return self.text
        if self.trained:
            colour = BOLD_GREEN if self.control else GREEN
        else:
            colour = YELLOW if self.control else DIM
        return f"{colour}{self.text}{RESET}"


def token_texts(tokenizer: EtudeTokenizer) -> list[str]:
    """By id: a control token's name; else the token's characters in quotes, what cannot be seen
    escaped, and bytes that are no whole character in hexadecimal: ' a', '\\n', <E4 BD>."""
    spell = make_spell(tokenizer)
    texts = ["".join(pieces(spell(token))) for token in range(len(tokenizer))]
    for token in tokenizer.control_ids:
        texts[token] = spell(token).decode("utf-8")
    return texts


def pieces(data: bytes) -> Iterator[str]:
    """Whole characters in quotes and other bytes in hexadecimal, in order."""
    while data:
        try:
            good, bad = data.decode("utf-8"), b""
        except UnicodeDecodeError as error:
            good = data[: error.start].decode("utf-8")
            bad = data[error.start : error.end]
        if good:
            yield f"'{''.join(map(visible_form, good))}'"
        if bad:
            yield f"<{bad.hex(' ').upper()}>"
        data = data[len(good.encode("utf-8")) + len(bad) :]


def visible_form(character: str) -> str:
    """A character, or its escape where a terminal would show nothing or act on it."""
    if character.isprintable():
        return character
    return character.encode("unicode_escape").decode("ascii")


def find_conversation(files: Sequence[Path], record: int) -> tuple[str, Conversation]:
    """Where a conversation stands (file:line), and what it is.

    Args:
        files: SFT files, read one after the other.
        record: which conversation of all, from 1.

    Raises:
        UserError: there are not so many, or a file is wrong up to there.
    """
    count = 0
    for file in files:
        for number, conversation in read_conversations(file):
            count += 1
            if count == record:
                return f"{file}:{number}", conversation
    raise UserError(
        f"--record {record}: there are {count:,} conversations in --sft_files; use 1 to {count}"
    )


def conversation_lines(
    tokenizer: EtudeTokenizer, conversation: Conversation, train_on: TrainOnName = "all"
) -> list[list[Line]]:
    """The samples of a conversation as training renders it: position, id, + where trained, role,
    text."""
    texts = token_texts(tokenizer)
    roles = {n: message["role"] for n, message in enumerate(conversation.messages)}
    return [
        [
            Line(
                f"{position:>6} {token:>7}  {'+' if trained else '-'}  "
                f"{roles.get(owner, 'template'):<9}  {texts[token]}",
                trained,
                token in tokenizer.control_ids,
            )
            for position, (token, trained, owner) in enumerate(
                zip(sample.ids, sample.mask, sample.owners, strict=True)
            )
        ]
        for sample in render_batch(tokenizer, [conversation], train_on)[0]
    ]


def conversation_total(lines: Sequence[Line], max_length: int) -> str:
    """How much of a conversation is trained, and what a row would cut."""
    trained = sum(line.trained for line in lines)
    total = f"{len(lines):,} tokens, {trained:,} trained ({trained / len(lines):.1%})"
    if len(lines) <= max_length + 1:
        return total
    lost = sum(line.trained for line in lines[max_length + 1 :])
    return (
        f"{total}; with --max_length {max_length} training keeps the first {max_length + 1:,} and "
        f"leaves {lost:,} trained ones out"
    )


def open_rows(config: ShowMaskConfig, tokenizer: EtudeTokenizer) -> TokenRows:
    """The packed rows that train/train_sft.py trains on with these settings."""
    from train.data.packing import pack
    from train.data.token_files import tokenised_data

    data = tokenised_data(
        "sft",
        config.sft_files,
        tokenizer,
        config.validation_every,
        config.cache_dir,
        config.validation_files,
        config.train_on,
    )
    crossing = config.cross_document_attention
    return pack(data.train, config.max_length, tokenizer.end_of_text_id, crossing)[0]


def read_row(rows: TokenRows, number: int) -> Batch:
    """A batch of one row.

    Raises:
        UserError: there is no such row.
    """
    if number >= len(rows):
        raise UserError(
            f"--row {number}: there are {len(rows):,} packed rows; use 0 to {len(rows) - 1}"
        )
    return rows.batch([number])


def row_lines(tokenizer: EtudeTokenizer, batch: Batch) -> list[Line]:
    """A row as the model gets it: position, document, id, text, and the label that is trained
    there."""
    from train.data.batches import IGNORED

    ids, labels = batch.input_ids[0].tolist(), batch.labels[0].tolist()
    texts, lines = token_texts(tokenizer), []
    documents = list(document_names(ids, tokenizer.end_of_text_id))
    for position, (token, label) in enumerate(zip(ids, labels, strict=True)):
        trained = label != IGNORED
        target = f"+  -> {label} {texts[label]}" if trained else "-"
        shown = padded(texts[token], 18)
        text = f"{position:>6} {documents[position]:>8} {token:>7}  {shown}  {target}"
        lines.append(Line(text, trained, token in tokenizer.control_ids))
    return lines


def document_names(ids: Sequence[int], border: int) -> Iterator[str]:
    """For each position of a row the number of its document (from 1), "border" for the token after
    one, "padding" for what nothing fills."""
    number, inside = 0, False
    for token in ids:
        if token == border:
            yield "border" if inside else "padding"
        else:
            number += not inside
            yield str(number)
        inside = token != border


def row_total(tokenizer: EtudeTokenizer, batch: Batch, rows: int) -> str:
    """What a row holds, and whether attention crosses its documents."""
    from train.data.batches import IGNORED

    ids = batch.input_ids[0].tolist()
    names = list(document_names(ids, tokenizer.end_of_text_id))
    documents = len({name for name in names if name.isdigit()})
    trained = int((batch.labels != IGNORED).sum())
    crossing = "crosses" if batch.document_ids is None else "does not cross"
    return (
        f"{len(ids):,} positions, {documents} document{'s' * (documents != 1)}, "
        f"{names.count('padding')} padding, "
        f"{trained:,} labels trained ({trained / len(ids):.1%}); attention {crossing} documents; "
        f"one of {rows:,} rows"
    )


if __name__ == "__main__":
    run_script(main)
