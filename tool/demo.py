"""The whole way on the built-in sample, from text to a chat, in minutes of CPU: `python demo.py`.

Each stage is one of the repository's scripts, run as a user would run it; its command is printed.
Run again, the demo continues where it was. The results go to weight/demo/ and
weight/demo_report.json.
"""

from __future__ import annotations

import argparse
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from cli import run_script
from config import ROOT, TRAINING_DATA, WEIGHT
from model.chat import Message
from model.directory.storage import (
    SUMMARY,
    json_writer,
    read_object,
    read_object_if_there,
    replace_file,
)
from tool.benchmarks.measuring import machine_facts

DEMO = WEIGHT / "demo"
REPORT = WEIGHT / "demo_report.json"
PRETRAINED, SFT = DEMO / "etude_pretrained_model", DEMO / "etude_sft_model"
PLACES = {
    "texts": "training_data/pretrain/pretrain_sample.jsonl",
    "chats": "training_data/sft/sft_sample.jsonl",
    "demo": "weight/demo",
    "pretrained": "weight/demo/etude_pretrained_model",
    "sft": "weight/demo/etude_sft_model",
}
"""Files and directories, by their names in the stages' commands, from the repository's root."""
TRANSCRIPT = (
    ("Hello! My name is Mira.", "What is the capital of France?", "What is my name?"),
    ("Tell me a story about a fox named Karo.",),
    ("你好！你是谁？", "“高”的反义词是什么？", "3 加 8 等于几？"),
    ("请讲一只叫诗宁的狐狸的故事。",),
)
"""Conversations, a tuple of the user's turns each."""


@dataclass(frozen=True)
class DemoStage:
    """One script of the demo."""

    name: str
    title: str
    command: str
    """Script and flags; {names} stand for PLACES."""
    output: Path
    """What exists when the stage is done."""

    @property
    def arguments(self) -> list[str]:
        """Script and flags as a shell would split them."""
        return self.command.format(**PLACES).split()


STAGES = (
    DemoStage(
        "sample",
        "Make the sample",
        "data_process/make_sample.py",
        TRAINING_DATA / "eval" / "eval_sample.jsonl",
    ),
    # The sample has few words: of the preset's 4,096 tokens a quarter would go unused.
    DemoStage(
        "tokenizer",
        "Train and verify the tokenizer",
        "train/train_tokenizer.py all --preset nano --vocab_size 3072 --pretrain_files {texts} "
        "--tokenizer_dir {demo}/tokenizer",
        DEMO / "tokenizer" / "tokenizer.json",
    ),
    DemoStage(
        "pretrain",
        "Pretrain on texts",
        "train/train_pretrain.py --preset nano --num_train_epochs 2 --pretrain_files {texts} "
        "--tokenizer_dir {demo}/tokenizer --pretrained_model_dir {pretrained}",
        PRETRAINED / "model.safetensors",
    ),
    DemoStage(
        "sft",
        "Fine-tune on conversations",
        "train/train_sft.py --preset nano --num_train_epochs 5 --sft_files {chats} "
        "--pretrained_model_dir {pretrained} --sft_model_dir {sft}",
        SFT / "model.safetensors",
    ),
    DemoStage(
        "evaluate",
        "Ask the held-out questions",
        "tool/evaluate.py --model_dir {sft}",
        SFT / "evaluation.json",
    ),
    DemoStage(
        "convert",
        "Convert for transformers, with proof",
        "tool/convert_hf.py --model_dir {sft}",
        DEMO / "etude_sft_model_llama" / "config.json",
    ),
    DemoStage(
        "plot",
        "Draw the curves",
        "tool/plot_training.py --model_dirs {pretrained} {sft} --output {demo}/training.png",
        DEMO / "training.png",
    ),
)


def main() -> int:
    """Runs the stages that are not done yet and prints the result."""
    argparse.ArgumentParser(description=__doc__).parse_args()  # no options; --help runs nothing
    report = {"done": [], "seconds": {}} | read_object_if_there(REPORT)
    DEMO.mkdir(parents=True, exist_ok=True)
    for number, stage in enumerate(STAGES, start=1):
        print(f"\n[{number}/{len(STAGES)}] {stage.title}", flush=True)
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
    print(f"$ python {' '.join(stage.arguments)}", flush=True)
    begin = time.perf_counter()
    code = wait_for(subprocess.Popen([sys.executable, *stage.arguments], cwd=ROOT))
    spent = time.perf_counter() - begin
    seconds = report["seconds"]
    seconds[stage.name] = round(seconds.get(stage.name, 0.0) + spent, 1)
    if code == 0:
        report["done"] = sorted({*report["done"], stage.name})
        print(f"{stage.title}: {seconds[stage.name]:.0f} s", flush=True)
    replace_file(REPORT, json_writer(report))
    return code


def wait_for(process: subprocess.Popen[bytes]) -> int:
    """Waits for a stage and returns its exit code. A signal is the stage's to answer: it saves and
    leaves, and is given the time."""
    before = {
        number: signal.signal(number, lambda number, _: process.send_signal(number))
        for number in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        return process.wait()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def finish(report: dict[str, Any]) -> None:
    """Completes the report with the results, and prints a transcript and the summary."""
    evaluation = read_object(SFT / "evaluation.json")
    summaries = {
        name: read_object(directory / SUMMARY)
        for name, directory in (("pretrain", PRETRAINED), ("sft", SFT))
    }
    report["evaluation"] = evaluation
    report["bits_per_byte"] = {n: s["bits_per_byte"] for n, s in summaries.items()}
    report["tokens"] = {n: s["tokens_seen"] for n, s in summaries.items()}
    report["machine"] = machine_facts("auto") | {"device": summaries["pretrain"]["machine"]}
    print("\nA conversation with the new model (greedy):\n")
    report["transcript"] = converse()
    report["total_seconds"] = round(sum(report["seconds"].values()), 1)
    replace_file(REPORT, json_writer(report))
    print(
        f"\n{evaluation['right']:.1%} of {evaluation['questions']} held-out questions right after "
        f"{report['total_seconds'] / 60:.1f} minutes; report: {REPORT.relative_to(ROOT)}, curves: "
        f"{PLACES['demo']}/training.png\nTalk to it: make chat"
    )


def converse() -> list[list[Message]]:
    """Holds the scripted conversations with the model and prints them."""
    from model.directory.pretrained import load_pretrained
    from train.measures.generations import answer_turns

    model, tokenizer = load_pretrained(SFT)
    held = []
    for turns in TRANSCRIPT:
        messages = answer_turns(model, tokenizer, turns)
        for message in messages:
            role = "you  " if message["role"] == "user" else "etude"
            print(f"  {role}  {message['content']}")
        print()
        held.append(messages)
    return held


if __name__ == "__main__":
    run_script(main)
