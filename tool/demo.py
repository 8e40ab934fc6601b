"""The whole way on the built-in sample, from text to a chat, in minutes of CPU: `python demo.py`.

Each stage is one of the repository's scripts, run as a user would run it; its command is printed.
Run again, the demo continues where it was. The results go to weight/demo/ and
weight/demo_report.json.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from config import ROOT, TRAINING_DATA, WEIGHT, UserError, run_script
from model.chat import Message

DEMO = WEIGHT / "demo"
REPORT = WEIGHT / "demo_report.json"
PRETRAINED, SFT = DEMO / "etude_pretrained_model", DEMO / "etude_sft_model"
PATHS = {
    "pretrain_files": TRAINING_DATA / "pretrain" / "pretrain_sample.jsonl",
    "sft_files": TRAINING_DATA / "sft" / "sft_sample.jsonl",
    "tokenizer_dir": DEMO / "tokenizer",
    "pretrained_model_dir": PRETRAINED,
    "sft_model_dir": SFT,
}
TRANSCRIPT = (
    ("Hello! My name is Mirabel.", "What is the capital of France?", "What is my name?"),
    ("Tell me a story about a fox named Lily.",),
    ("你好！你是谁？", "“高”的反义词是什么？", "3 加 8 等于几？"),
    ("请讲一个关于小猫的故事，它叫小云。",),
)
"""Conversations, a tuple of the user's turns each."""


@dataclass(frozen=True)
class DemoStage:
    """One script of the demo."""

    name: str
    title: str
    script: str
    flags: tuple[str, ...]
    output: Path
    """What exists when the stage is done."""


def stages() -> list[DemoStage]:
    """The demo's stages in order."""
    nano = ("--preset", "nano")
    picture = ("--output", relative(DEMO / "training.png"))
    return [
        DemoStage(
            "sample",
            "Make the sample",
            "data_process/make_sample.py",
            (),
            TRAINING_DATA / "eval" / "eval_sample.jsonl",
        ),
        DemoStage(
            "tokenizer",
            "Train and verify the tokenizer",
            "train/train_tokenizer.py",
            ("all", *nano, *path_flags("pretrain_files", "tokenizer_dir")),
            DEMO / "tokenizer" / "tokenizer.json",
        ),
        DemoStage(
            "pretrain",
            "Pretrain on texts",
            "train/train_pretrain.py",
            (*nano, *path_flags("pretrain_files", "tokenizer_dir", "pretrained_model_dir")),
            PRETRAINED / "model.safetensors",
        ),
        DemoStage(
            "sft",
            "Fine-tune on conversations",
            "train/train_sft.py",
            (*nano, *path_flags("sft_files", "pretrained_model_dir", "sft_model_dir")),
            SFT / "model.safetensors",
        ),
        DemoStage(
            "evaluate",
            "Ask the held-out questions",
            "tool/evaluate.py",
            ("--model_dir", relative(SFT)),
            SFT / "evaluation.json",
        ),
        DemoStage(
            "convert",
            "Convert for transformers, with proof",
            "tool/convert_hf.py",
            ("--model_dir", relative(SFT)),
            DEMO / "etude_sft_model_llama" / "config.json",
        ),
        DemoStage(
            "plot",
            "Draw the curves",
            "tool/plot_training.py",
            ("--model_dirs", relative(PRETRAINED), relative(SFT), *picture),
            DEMO / "training.png",
        ),
    ]


def path_flags(*names: str) -> tuple[str, ...]:
    """The flags of the named paths."""
    return tuple(part for name in names for part in (f"--{name}", relative(PATHS[name])))


def relative(path: Path) -> str:
    """A path as it is typed from the repository's root."""
    return str(path.relative_to(ROOT))


def main() -> int:
    """Runs the stages that are not done yet and tells the result."""
    argparse.ArgumentParser(description=__doc__).parse_args()  # no options; --help runs nothing
    report = read_report()
    DEMO.mkdir(parents=True, exist_ok=True)
    for number, stage in enumerate(stages(), start=1):
        print(f"\n[{number}/{len(stages())}] {stage.title}", flush=True)
        if stage.name in report["done"] and stage.output.exists():
            print(f"done before, in {report['seconds'][stage.name]:.0f} s")
            continue
        code = run_stage(stage, report)
        if code:
            print(f"the demo stops here (exit {code}); run it again to continue", file=sys.stderr)
            return code
    finish(report)
    return 0


def run_stage(stage: DemoStage, report: dict[str, Any]) -> int:
    """Runs a stage from the repository's root, adds its time to the report, and returns its exit
    code."""
    print(f"$ python {stage.script} {' '.join(stage.flags)}", flush=True)
    begin = time.perf_counter()
    try:
        code = subprocess.run(
            [sys.executable, stage.script, *stage.flags], cwd=ROOT, check=False
        ).returncode
    except KeyboardInterrupt:  # the stage got the signal too, and has saved
        code = 130
    spent = time.perf_counter() - begin
    seconds = report["seconds"]
    seconds[stage.name] = round(seconds.get(stage.name, 0.0) + spent, 1)
    if code == 0:
        report["done"] = sorted({*report["done"], stage.name})
        print(f"{stage.title}: {seconds[stage.name]:.0f} s", flush=True)
    write_report(report)
    return code


def finish(report: dict[str, Any]) -> None:
    """Completes the report with the results, and prints a transcript and the summary."""
    evaluation = json.loads((SFT / "evaluation.json").read_text(encoding="utf-8"))
    summaries = {
        name: json.loads((directory / "training_summary.json").read_text(encoding="utf-8"))
        for name, directory in (("pretrain", PRETRAINED), ("sft", SFT))
    }
    report["evaluation"] = evaluation
    report["bits_per_byte"] = {n: s["bits_per_byte"] for n, s in summaries.items()}
    report["tokens"] = {n: s["tokens_seen"] for n, s in summaries.items()}
    report["machine"] = {
        "device": summaries["pretrain"]["machine"],
        "processor": processor_name(),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
    }
    report["total_seconds"] = round(sum(report["seconds"].values()), 1)
    print("\nA conversation with the new model (greedy):\n")
    report["transcript"] = converse()
    write_report(report)
    print(
        f"\n{evaluation['right']:.1%} of {evaluation['questions']} held-out questions right after "
        f"{report['total_seconds'] / 60:.1f} minutes; report: {relative(REPORT)}, curves: "
        f"{relative(DEMO / 'training.png')}\nTalk to it: make chat"
    )


def converse() -> list[list[Message]]:
    """Holds the scripted conversations with the model and prints them."""
    from model.pretrained import load_pretrained
    from tool.questions import answer_turns

    model, tokenizer = load_pretrained(SFT)
    held = []
    for turns in TRANSCRIPT:
        messages = answer_turns(model, tokenizer, turns)
        for message in messages:
            speaker = "you  " if message["role"] == "user" else "etude"
            print(f"  {speaker}  {message['content']}")
        print()
        held.append(messages)
    return held


def read_report() -> dict[str, Any]:
    """The report of an earlier, perhaps interrupted, demo, or an empty one.

    Raises:
        UserError: the file is not a demo's report.
    """
    if not REPORT.exists():
        return {"done": [], "seconds": {}}
    try:
        report = json.loads(REPORT.read_text(encoding="utf-8"))
        report["done"], report["seconds"]
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{REPORT}: not a demo's report; remove it and run again") from error
    return dict(report)


def write_report(report: dict[str, Any]) -> None:
    """Replaces the report."""
    from model.storage import json_writer, replace_file

    replace_file(REPORT, json_writer(report))


def processor_name() -> str:
    """The processor as the system names it."""
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


if __name__ == "__main__":
    run_script(main)
