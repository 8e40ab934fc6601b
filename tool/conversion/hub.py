"""Sending a converted model to the Hugging Face hub."""

from __future__ import annotations

import os
from pathlib import Path

from config import UserError
from tool.settings import UploadConfig

FILES = (
    "config.json",
    "*.safetensors",
    "*.safetensors.index.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "generation_config.json",
    "training_summary.json",
    "conversion.json",
    "evaluation.json",
    "evaluation.png",
)
"""What is uploaded of a directory; checkpoints and logs are not."""


def upload_model(config: UploadConfig, card: str) -> str:
    """Makes the repository where it is not there, and uploads files and card in one commit.

    Returns:
        The address of the commit.

    Raises:
        UserError: the directory is not a conversion, nobody is logged in, or the hub refuses.
    """
    from huggingface_hub import CommitOperationAdd, HfApi
    from huggingface_hub.errors import HfHubHTTPError, LocalTokenNotFoundError

    files = files_of(config.model_dir)
    operations = [CommitOperationAdd(path.name, str(path)) for path in files]
    operations.append(CommitOperationAdd("README.md", card.encode("utf-8")))
    api = HfApi(endpoint=config.endpoint, token=os.environ.get("HF_TOKEN"))
    try:
        api.create_repo(config.repo_id, private=config.private, exist_ok=True)
        commit = api.create_commit(
            config.repo_id, operations, commit_message=f"Upload {config.model_dir.name}"
        )
    except LocalTokenNotFoundError as error:
        raise UserError(
            "nobody is logged in to the hub: run `hf auth login`, or set HF_TOKEN"
        ) from error
    except (HfHubHTTPError, OSError) as error:
        first_line = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise UserError(
            f"--repo_id {config.repo_id}: the hub refuses ({first_line}); check its name, your "
            "token and the network, and run the same command again"
        ) from error
    return str(commit.commit_url)


def files_of(directory: Path) -> list[Path]:
    """The files of a converted model that are uploaded, by name.

    Raises:
        UserError: the directory is not one that tool/convert_hf.py wrote.
    """
    if not (directory / "conversion.json").is_file():
        raise UserError(
            f"--model_dir {directory}: not a converted model; make one with `python "
            "tool/convert_hf.py` and name its directory"
        )
    return sorted({path for pattern in FILES for path in directory.glob(pattern)})
