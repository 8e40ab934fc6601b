"""Uploads a model to the Hugging Face hub, with a model card made of what is known about it.

    python tool/upload_hub.py --repo_id me/my-etude                     the fine-tuned model
    python tool/upload_hub.py --repo_id me/my-etude --dry_run           print the card, upload
    nothing

The directory is uploaded as `tool/convert_hf.py` wrote it: a stock LlamaForCausalLM. The token is
that of `hf auth login`, or the environment variable HF_TOKEN.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from cli import parse_flags, run_script
from tool.settings import UploadConfig


def main() -> None:
    """Makes the card, and uploads or shows it."""
    config = parse_flags(UploadConfig(), __doc__)
    from tool.conversion.hub import upload_model  # heavy modules come after the flags
    from tool.conversion.model_card import model_card

    card = model_card(config.model_dir, config.repo_id, config.license)
    if config.dry_run:
        print(card)
        return
    print(upload_model(config, card))


if __name__ == "__main__":
    run_script(main)
