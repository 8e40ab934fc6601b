"""Shows a conversation, or a packed row, token by token with what is trained of it.

python show_mask.py --record 3

Trained tokens have a + (and are green in a terminal), others a - (and are dim).
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from cli import parse_flags, run_script
from tool.settings import ShowMaskConfig


def main() -> None:
    """Reads the command line and shows a conversation or a row."""
    config = parse_flags(ShowMaskConfig(), __doc__)
    in_colour = sys.stdout.isatty() and not os.environ.get("NO_COLOR")
    if config.row is None:
        show_conversation(config, in_colour)
    else:
        show_row(config, config.row, in_colour)


def show_conversation(config: ShowMaskConfig, in_colour: bool) -> None:
    """A conversation as model/chat.py renders it for training."""
    from model.tokenizer import EtudeTokenizer  # after the command line
    from tool.plots.mask_view import (
        CONVERSATION_HEAD,
        conversation_lines,
        conversation_total,
        find_conversation,
    )

    tokenizer = EtudeTokenizer.load(config.tokenizer_dir)
    place, messages = find_conversation(config.sft_files, config.record)
    lines = conversation_lines(tokenizer, messages)
    print(place)
    print(CONVERSATION_HEAD)
    for line in lines:
        print(line.painted(in_colour))
    print(conversation_total(lines, config.max_length))


def show_row(config: ShowMaskConfig, number: int, in_colour: bool) -> None:
    """A row as train/train_sft.py gives it to the model."""
    from model.tokenizer import EtudeTokenizer
    from tool.plots.mask_view import ROW_HEAD, open_rows, read_row, row_lines, row_total

    tokenizer = EtudeTokenizer.load(config.tokenizer_dir)
    rows = open_rows(config, tokenizer)
    batch = read_row(rows, number)
    print(ROW_HEAD)
    for line in row_lines(tokenizer, batch):
        print(line.painted(in_colour))
    print(row_total(tokenizer, batch, len(rows)))


if __name__ == "__main__":
    run_script(main)
