"""Chats with a model in the terminal.

python inference/inference.py                                  a chat with the fine-tuned model
python inference/inference.py --prompt "Who are you?"          one answer, and nothing else
python inference/inference.py --json < questions.txt           a line of JSON for each line
python inference/inference.py --model_dir weight/etude_pretrained_model    continues texts
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from cli import parse_flags, run_script
from inference.settings import ChatConfig


def main() -> int:
    """Reads the flags, loads the model, chats."""
    config = parse_flags(ChatConfig(), "Chats with a model in the terminal.")
    # These import torch, which takes seconds: not for --help.
    from inference.terminal.backends import EtudeBackend
    from inference.terminal.chat import run_chat

    return run_chat(EtudeBackend.load(config), config)


if __name__ == "__main__":
    run_script(main)
