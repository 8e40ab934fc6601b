"""Uploads a model to the Hugging Face hub, with a model card made of what is known about it.

    python tool/upload_hub.py --repo_id me/my-etude                the fine-tuned model
    python tool/upload_hub.py --repo_id me/my-etude --dry_run      print the card, upload nothing

The directory is uploaded as `tool/convert_hf.py` wrote it: a stock class of transformers. The token
is that of `hf auth login`, or the environment variable HF_TOKEN.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from cli import parse_flags, run_script
from config import UserError
from model.directory.storage import SUMMARY, read_object_if_there
from tool.settings import UploadConfig

if TYPE_CHECKING:
    from huggingface_hub import HfApi

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
REMEDIES = {
    401: "your token is not valid: run `hf auth login`, or set HF_TOKEN",
    403: "your token may not write there: make one that may, or name a repository of your own",
    404: "check the user or organisation in the name",
}
"""Of the codes that the hub refuses with."""
LANGUAGES = {"han": "zh", "latin": "en"}
"""Of the scripts that a run was measured on."""
TEMPLATE = Path(__file__).parent / "conversion" / "model_card.md"
"""In Jinja, which huggingface_hub fills."""


def main() -> None:
    """Makes the card, and uploads or shows it."""
    config = parse_flags(UploadConfig(), __doc__)
    card = model_card(config.model_dir, config.repo_id, config.license)
    print(card if config.dry_run else upload_model(config, card))


def upload_model(config: UploadConfig, card: str) -> str:
    """Makes the repository where it is not there, and uploads files and card in one commit.

    Returns:
        The address of the commit.

    Raises:
        UserError: the directory is not a conversion, nobody is logged in, or the hub refuses.
    """
    from huggingface_hub import CommitOperationAdd, HfApi, get_token

    files = files_of(config.model_dir)
    operations = [CommitOperationAdd(path.name, str(path)) for path in files]
    operations.append(CommitOperationAdd("README.md", card.encode("utf-8")))
    token = get_token()
    if not token or not token.isascii():  # it travels in a header
        raise UserError("nobody is logged in to the hub: run `hf auth login`, or set HF_TOKEN")
    api = HfApi(endpoint=config.endpoint)
    try:
        api.create_repo(config.repo_id, private=config.private, exist_ok=True)
        commit = api.create_commit(
            config.repo_id, operations, commit_message=f"Upload {config.model_dir.name}"
        )
    except Exception as error:  # of the hub, of its HTTP library, of what neither expects
        raise UserError(f"--repo_id {config.repo_id}: {hub_problem(error, api)}") from error
    return str(commit.commit_url)


def hub_problem(error: Exception, api: HfApi) -> str:
    """What went wrong with the hub, and what to do."""
    from huggingface_hub.errors import HfHubHTTPError

    first_line = (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")
    if isinstance(error, HfHubHTTPError):
        remedy = REMEDIES.get(error.response.status_code, "run the same command again later")
        return f"the hub refuses ({first_line}); {remedy}"
    return (
        f"{api.endpoint} does not answer as the hub does ({type(error).__name__}: {first_line}); "
        "check the network and --endpoint, and run the same command again"
    )


def files_of(directory: Path) -> list[Path]:
    """The files of a converted model that are uploaded, sorted by their names.

    Raises:
        UserError: the directory is not one that tool/convert_hf.py wrote.
    """
    if not (directory / "conversion.json").is_file():
        raise UserError(
            f"--model_dir {directory}: not a converted model; make one with `python "
            "tool/convert_hf.py` and name its directory"
        )
    return sorted({path for pattern in FILES for path in directory.glob(pattern)})


def model_card(directory: Path, repo_id: str, license: str | None) -> str:
    """The card of a model directory, as Markdown with a YAML head; its weights are not read.

    Raises:
        UserError: there is no model.
    """
    import torch
    from huggingface_hub import ModelCard, ModelCardData

    from model.directory.config_json import load_model_config
    from model.directory.pretrained import is_chat_model
    from model.families import family_of
    from model.transformer import Etude

    shape, summary = load_model_config(directory), read_object_if_there(directory / SUMMARY)
    scripts = summary.get("bits_per_byte") or {}
    with torch.device("meta"):
        parameters = Etude(shape).num_parameters()
    data = ModelCardData(
        license=license,
        language=[code for script, code in LANGUAGES.items() if script in scripts] or None,
        library_name="transformers",
        pipeline_tag="text-generation",
        tags=["etude"],
    )
    card = ModelCard.from_template(
        data,
        str(TEMPLATE),
        name=repo_id.split("/")[-1],
        repo_id=repo_id,
        is_chat=is_chat_model(directory),
        parameters=parameters,
        architecture=family_of(shape).architecture,
        shape=shape,
        summary=summary,
        evaluation=read_object_if_there(directory / "evaluation.json"),
    )
    return str(card)


if __name__ == "__main__":
    run_script(main)
