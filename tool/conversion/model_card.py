"""A model card for the Hugging Face hub, made of what the files of a model say."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from model.directory.pretrained import is_chat_model, load_model_config
from model.directory.storage import SUMMARY
from model.tokenizer import EtudeTokenizer

LANGUAGES = {"han": "zh", "latin": "en"}
"""Of the scripts that a run was measured on."""


def model_card(directory: Path, repo_id: str, license: str | None) -> str:
    """The card of a model directory, as Markdown with a YAML head.

    Raises:
        UserError: there is no model.
    """
    shape = load_model_config(directory)
    is_chat = is_chat_model(directory)
    summary = read_json(directory / SUMMARY)
    scripts = summary.get("bits_per_byte") or {}
    sections = [
        head(license, [code for script, code in LANGUAGES.items() if script in scripts]),
        f"# {repo_id.split('/')[-1]}",
        f"A {'chat' if is_chat else 'text'} model of {parameters(directory) / 1e6:.1f}M "
        f"parameters, "
        "trained from scratch with Etude: a stock `LlamaForCausalLM`.",
        "## Use",
        usage(repo_id, is_chat),
        "## Shape",
        table(
            {
                "layers": shape.num_hidden_layers,
                "hidden size": shape.hidden_size,
                "feed-forward size": shape.intermediate_size,
                "heads (keys and values)": (
                    f"{shape.num_attention_heads} ({shape.num_key_value_heads})"
                ),
                "context": shape.max_position_embeddings,
                "vocabulary": shape.vocab_size,
            }
        ),
        *training_section(summary),
        *evaluation_section(read_json(directory / "evaluation.json")),
        "## Limits",
        "A small model makes things up. It knows what its training texts say, and not whether that "
        "is true; nothing in it keeps it from saying what is wrong or hurtful.",
    ]
    return "\n\n".join(sections) + "\n"


def head(license: str | None, languages: list[str]) -> str:
    """The YAML that the hub reads."""
    lines = ["library_name: transformers", "pipeline_tag: text-generation", "tags:", "- etude"]
    if license:
        lines.insert(0, f"license: {license}")
    if languages:
        lines += ["language:", *(f"- {code}" for code in languages)]
    return "\n".join(["---", *lines, "---"])


def usage(repo_id: str, is_chat: bool) -> str:
    """Code that runs the model."""
    lines = [
        "```python",
        "from transformers import pipeline",
        "",
        f'generate = pipeline("text-generation", "{repo_id}")',
    ]
    if is_chat:
        lines.append('generate([{"role": "user", "content": "Hello!"}], max_new_tokens=200)')
    else:
        lines.append('generate("Once upon a time", max_new_tokens=200)')
    return "\n".join([*lines, "```"])


def training_section(summary: Mapping[str, Any]) -> list[str]:
    """What made the model, as far as its summary says."""
    known = {
        "command": summary.get("command"),
        "stage": summary.get("stage"),
        "tokens seen": summary.get("tokens_seen"),
        "steps": summary.get("step"),
        **{
            f"validation bits per byte ({script})": value
            for script, value in (summary.get("bits_per_byte") or {}).items()
        },
        "commit of Etude": summary.get("git_commit"),
        "machine": summary.get("machine"),
    }
    rows = {name: value for name, value in known.items() if value not in (None, "", [], {})}
    return ["## Training", table(rows)] if rows else []


def evaluation_section(evaluation: Mapping[str, Any]) -> list[str]:
    """What was measured, with intervals and chance."""
    lines = []
    if "right" in evaluation:
        lines.append(f"{evaluation['right']:.1%} of {evaluation['questions']} questions right.")
    rows = evaluation.get("files") or []
    if rows:
        cells = ["| file | measure | value | 95% interval | chance |", "|---|---|---|---|---|"]
        for row in rows:
            chance = "" if row["chance"] is None else f"{row['chance']:.3f}"
            cells.append(
                f"| {row['file']} | {row['measure']} | {row['value']:.3f} | {row['low']:.3f} to "
                f"{row['high']:.3f} | {chance} |"
            )
        lines.append("\n".join(cells))
    return ["## Evaluation", *lines] if lines else []


def table(rows: Mapping[str, Any]) -> str:
    """Names and values as a Markdown table."""
    lines = [f"| {name} | {shown(value)} |" for name, value in rows.items()]
    return "\n".join(["| | |", "|---|---|", *lines])


def shown(value: Any) -> str:
    """A value in a cell."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        text = " ".join(map(str, value)) if isinstance(value, list) else str(value)
        return text.replace("|", "\\|").replace("\n", " ")
    return f"{value:,}" if isinstance(value, int) else f"{value:.3f}"


def parameters(directory: Path) -> int:
    """Number of weights, from the shape: nothing is loaded."""
    shape = load_model_config(directory)
    hidden, ffn = shape.hidden_size, shape.intermediate_size
    kv_size = shape.num_key_value_heads * shape.head_dim
    block = 2 * hidden * hidden + 2 * hidden * kv_size + 3 * hidden * ffn + 2 * hidden
    embeddings = (1 if shape.tie_word_embeddings else 2) * len(EtudeTokenizer.load(directory))
    return shape.num_hidden_layers * block + embeddings * hidden + hidden


def read_json(path: Path) -> dict[str, Any]:
    """The content of a file; empty where there is none that can be read."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
