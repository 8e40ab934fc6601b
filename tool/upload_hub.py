"""Uploads a model to the Hugging Face hub, with a model card made of what is known about it.

    python tool/upload_hub.py --repo_id me/my-etude                the fine-tuned model
    python tool/upload_hub.py --repo_id me/my-etude --dry_run      print the card, upload nothing

The directory is uploaded as `tool/convert_hf.py` wrote it: a stock LlamaForCausalLM. The token is
that of `hf auth login`, or the environment variable HF_TOKEN.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from cli import parse_flags, run_script
from config import UserError
from model.directory.storage import SUMMARY
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
LANGUAGES = {"han": "zh", "latin": "en"}
"""Of the scripts that a run was measured on."""
LIMITS = (
    "A small model makes things up. It knows what its training texts say, and not whether that "
    "is true; nothing in it keeps it from saying what is wrong or hurtful."
)


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
    """The card of a model directory, as Markdown with a YAML head.

    Raises:
        UserError: there is no model.
    """
    from huggingface_hub import ModelCard, ModelCardData

    from model.directory.pretrained import is_chat_model

    is_chat = is_chat_model(directory)
    shape = shape_rows(directory)
    summary = read_json(directory / SUMMARY)
    scripts = summary.get("bits_per_byte") or {}
    data = ModelCardData(
        license=license,
        language=[code for script, code in LANGUAGES.items() if script in scripts] or None,
        library_name="transformers",
        pipeline_tag="text-generation",
        tags=["etude"],
    )
    asked = '[{"role": "user", "content": "Hello!"}]' if is_chat else '"Once upon a time"'
    sections = [
        f"---\n{data.to_yaml()}\n---",
        f"# {repo_id.split('/')[-1]}",
        f"A {'chat' if is_chat else 'text'} model, trained from scratch with Etude: a stock "
        "`LlamaForCausalLM`.",
        "## Use",
        "```python\nfrom transformers import pipeline\n\n"
        f'generate = pipeline("text-generation", "{repo_id}")\n'
        f"generate({asked}, max_new_tokens=200)\n```",
        "## Shape",
        table(shape),
        *training_section(summary),
        *evaluation_section(read_json(directory / "evaluation.json")),
        f"## Limits\n\n{LIMITS}",
    ]
    return str(ModelCard("\n\n".join(sections) + "\n"))


def shape_rows(directory: Path) -> dict[str, Any]:
    """The sizes of a model; its weights are not read.

    Raises:
        UserError: there is no model.
    """
    import torch

    from model.directory.pretrained import load_model_config
    from model.transformer import Etude

    shape = load_model_config(directory)
    with torch.device("meta"):
        parameters = Etude(shape).num_parameters()
    return {
        "parameters": parameters,
        "layers": shape.num_hidden_layers,
        "hidden size": shape.hidden_size,
        "feed-forward size": shape.intermediate_size,
        "heads": shape.num_attention_heads,
        "heads of keys and values": shape.num_key_value_heads,
        "context": shape.max_position_embeddings,
        "vocabulary": shape.vocab_size,
    }


def training_section(summary: Mapping[str, Any]) -> Iterator[str]:
    """What made the model, as far as its summary says."""
    bits = summary.get("bits_per_byte") or {}
    known = {
        "command": summary.get("command"),
        "stage": summary.get("stage"),
        "tokens seen": summary.get("tokens_seen"),
        "steps": summary.get("step"),
        **{f"validation bits per byte ({script})": value for script, value in bits.items()},
        "commit of Etude": summary.get("git_commit"),
        "machine": summary.get("machine"),
    }
    rows = {name: value for name, value in known.items() if value not in (None, "", [], {})}
    if rows:
        yield "## Training\n\n" + table(rows)


def evaluation_section(evaluation: Mapping[str, Any]) -> Iterator[str]:
    """What was measured, with intervals and chance."""
    rows = evaluation.get("files") or []
    if "right" in evaluation or rows:
        yield "## Evaluation"
    if "right" in evaluation:
        yield f"{evaluation['right']:.1%} of {evaluation['questions']} questions right."
    if rows:
        lines = ["| file | measure | value | 95% interval | chance |", "|---|---|---|---|---|"]
        for row in rows:
            chance = "" if row["chance"] is None else f"{row['chance']:.3f}"
            lines.append(
                f"| {row['file']} | {row['measure']} | {row['value']:.3f} | {row['low']:.3f} to "
                f"{row['high']:.3f} | {chance} |"
            )
        yield "\n".join(lines)


def table(rows: Mapping[str, Any]) -> str:
    """Names and values as a Markdown table."""
    lines = [f"| {name} | {cell(value)} |" for name, value in rows.items()]
    return "\n".join(["| | |", "|---|---|", *lines])


def cell(value: Any) -> str:
    """A value in a cell."""
    if isinstance(value, (int, float)):
        return f"{value:,}" if isinstance(value, int) else f"{value:.3f}"
    text = " ".join(map(str, value)) if isinstance(value, list) else str(value)
    return text.replace("|", "\\|").replace("\n", " ")


def read_json(path: Path) -> dict[str, Any]:
    """The content of a file; empty where there is none that can be read."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


if __name__ == "__main__":
    run_script(main)
