"""Chats, through transformers, with a model that tool/convert_hf.py has converted.

python tool/convert_hf.py                                      converts the fine-tuned model
python inference/hf.py                                         a chat with the result
python inference/hf.py --prompt "Who are you?"                 one answer, and nothing else

The part to copy into your own program is TransformersBackend in inference/terminal/backends.py.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from cli import parse_flags, run_script
from config import PathConfig, converted_dir
from inference.settings import TransformersChatConfig


def main() -> int:
    """Reads the flags, loads the converted model, chats."""
    default = TransformersChatConfig(model_dir=converted_dir(PathConfig.sft_model_dir))
    config = parse_flags(
        default, "Chats, through transformers, with a model that tool/convert_hf.py has converted."
    )
    os.environ["HF_HUB_OFFLINE"] = "1"
    os.environ["HF_HUB_DISABLE_PROGRESS_BARS"] = "1"
    os.environ["TRANSFORMERS_VERBOSITY"] = "error"
    # These import transformers, which takes seconds: not for --help.
    from inference.terminal.backends import TransformersBackend
    from inference.terminal.chat import run_chat

    return run_chat(TransformersBackend(config), config)


if __name__ == "__main__":
    run_script(main)
