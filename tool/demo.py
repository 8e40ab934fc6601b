"""The whole way on the built-in sample, from text to a chat, in minutes of CPU: `python demo.py`.

Each stage is one of the repository's scripts, run as a user would run it; its command is printed.
Run again, the demo continues where it was. The results go to weight/demo/ and
weight/demo_report.json; with --seed 2 to weight/demo_seed_2/ and weight/demo_seed_2_report.json.
"""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from cli import parse_flags, run_script
from config import ROOT, SamplingConfig, Seed, Settings
from inference.settings import ChatConfig
from model.conversation import Message
from model.directory.storage import (
    SUMMARY,
    json_writer,
    read_object,
    read_object_if_there,
    replace_file,
)
from tool.benchmarks.measuring import machine_facts

TOOLS_FILE, FUNCTIONS_FILE = "training_data/tools.json", "data_process/sample/functions.py"
SPOKEN = {"user": "you  ", "assistant": "etude", "tool": "tool "}
TRANSCRIPT = (
    ("Hello! My name is Mira.", "What is the capital of France?", "What is my name?"),
    ("Tell me a story about a fox named Karo.",),
    ("你好！你是谁？", "“高”的反义词是什么？", "3 加 8 等于几？"),
    ("请讲一只叫诗宁的狐狸的故事。",),
)
"""Conversations, a tuple of the user's turns each."""
TRANSCRIPT_WITH_TOOLS = (
    ("What is 482 * 37?", "I was born on 9 November 1989. What day of the week was that?"),
    ("法国的首都是哪里？", "从2026年3月1日到2026年12月25日有多少天？"),
)


@dataclass(frozen=True)
class DemoConfig(Settings):
    """The whole way on the built-in sample."""

    seed: Seed = 1
    """Seed of all training; another one than 1 gets a directory of its own."""

    @property
    def places(self) -> dict[str, str]:
        """Files and directories by their names in the stages' commands, from the repository's
        root."""
        demo = "weight/demo" if self.seed == 1 else f"weight/demo_seed_{self.seed}"
        models = {name: f"{demo}/etude_{name}_model" for name in ("pretrained", "sft", "grpo")}
        files = {
            name: f"training_data/{folder}/{folder}_sample.jsonl"
            for name, folder in (("texts", "pretrain"), ("chats", "sft"), ("prompts", "rl"))
        }
        for name, folder in (("texts", "pretrain"), ("chats", "sft"), ("questions", "eval")):
            files[f"tool_{name}"] = f"training_data/{folder}/tools_sample.jsonl"
        questions = "training_data/eval/eval_sample.jsonl"
        return {"demo": demo, "questions": questions, "seed": str(self.seed), **models, **files}

    def path(self, name: str) -> Path:
        """A path that may begin with one of the places: {sft}/evaluation.json."""
        return ROOT / name.format(**self.places)

    @property
    def report(self) -> Path:
        """The file of the results."""
        return self.path("{demo}_report.json")


class DemoStage(NamedTuple):
    """One script of the demo; {names} stand for the places."""

    name: str
    title: str
    command: str
    """Script and flags."""
    output: str
    """What exists when the stage is done."""

    def arguments(self, config: DemoConfig) -> list[str]:
        """Script and flags as a shell would split them."""
        return self.command.format(**config.places).split()


STAGES = (
    DemoStage("sample", "Make the sample", "data_process/make_sample.py", "{questions}"),
    # The sample has few words: of the preset's 4,096 tokens a quarter would go unused.
    DemoStage(
        "tokenizer",
        "Train and verify the tokenizer",
        "train/train_tokenizer.py all --preset nano --vocab_size 3072 "
        "--pretrain_files {texts} {tool_texts} --tokenizer_dir {demo}/tokenizer",
        "{demo}/tokenizer/tokenizer.json",
    ),
    DemoStage(
        "pretrain",
        "Pretrain on texts",
        "train/train_pretrain.py --preset nano --num_train_epochs 1 --seed {seed} "
        "--pretrain_files {texts} {tool_texts} --tokenizer_dir {demo}/tokenizer "
        "--pretrained_model_dir {pretrained}",
        "{pretrained}/model.safetensors",
    ),
    DemoStage(
        "sft",
        "Fine-tune on conversations",
        "train/train_sft.py --preset nano --num_train_epochs 2 --seed {seed} --sft_files {chats} "
        "{tool_chats} --pretrained_model_dir {pretrained} --sft_model_dir {sft}",
        "{sft}/model.safetensors",
    ),
    DemoStage(
        "examine",
        "Ask the held-out questions",
        "tool/evaluate.py --model_dir {sft} --questions {questions} --eval_files {tool_questions}",
        "{sft}/evaluation.json",
    ),
    DemoStage(
        "grpo",
        "Learn from rewards",
        "train/train_grpo.py --preset nano --max_steps 60 --learning_rate 3e-5 --dtype float32 "
        "--no_compile --seed {seed} --rl_files {prompts} --sft_model_dir {sft} "
        "--grpo_model_dir {grpo}",
        "{grpo}/model.safetensors",
    ),
    DemoStage(
        "evaluate",
        "Ask the held-out questions again",
        "tool/evaluate.py --model_dir {grpo} --questions {questions} --eval_files {tool_questions}",
        "{grpo}/evaluation.json",
    ),
    DemoStage(
        "convert",
        "Convert for transformers, with proof",
        "tool/convert_hf.py --model_dir {grpo}",
        "{grpo}_hf/config.json",
    ),
    DemoStage(
        "plot",
        "Draw the curves",
        "tool/plot_training.py --model_dirs {pretrained} {sft} --output {demo}/training.png",
        "{demo}/training.png",
    ),
)


def main() -> int:
    """Runs the stages that are not done yet and prints the result."""
    config = parse_flags(DemoConfig(), __doc__)
    report = {"done": [], "seconds": {}} | read_object_if_there(config.report)
    config.path("{demo}").mkdir(parents=True, exist_ok=True)
    for number, stage in enumerate(STAGES, start=1):
        print(f"\n[{number}/{len(STAGES)}] {stage.title}", flush=True)
        if stage.name in report["done"] and config.path(stage.output).exists():
            print(f"done before, in {report['seconds'][stage.name]:.0f} s")
            continue
        code = run_stage(stage, config, report)
        if code:
            print(f"the demo stops here (exit {code}); run it again to continue", file=sys.stderr)
            return code
    finish(config, report)
    return 0


def run_stage(stage: DemoStage, config: DemoConfig, report: dict[str, Any]) -> int:
    """Runs a stage from the repository's root, adds its time to the report, and returns its exit
    code."""
    arguments = stage.arguments(config)
    print(f"$ python {' '.join(arguments)}", flush=True)
    begin = time.perf_counter()
    code = wait_for(subprocess.Popen([sys.executable, *arguments], cwd=ROOT))
    spent = time.perf_counter() - begin
    seconds = report["seconds"]
    seconds[stage.name] = round(seconds.get(stage.name, 0.0) + spent, 1)
    if code == 0:
        report["done"] = sorted({*report["done"], stage.name})
        print(f"{stage.title}: {seconds[stage.name]:.0f} s", flush=True)
    replace_file(config.report, json_writer(report))
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


def finish(config: DemoConfig, report: dict[str, Any]) -> None:
    """Completes the report with the results, and prints a transcript and the summary."""
    evaluation = read_object(config.path("{grpo}/evaluation.json"))
    before = read_object(config.path("{sft}/evaluation.json"))
    summaries = {
        name: read_object(config.path(f"{{{name}}}") / SUMMARY)
        for name in ("pretrained", "sft", "grpo")
    }
    report["seed"] = config.seed
    report["evaluation"], report["evaluation_before_rewards"] = evaluation, before
    report["bits_per_byte"] = {n: s["bits_per_byte"] for n, s in summaries.items() if n != "grpo"}
    report["tokens"] = {n: s["tokens_seen"] for n, s in summaries.items()}
    report["machine"] = machine_facts("auto") | {"device": summaries["sft"]["machine"]}
    print("\nConversations with the new model (greedy):\n")
    report["transcript"] = converse(config)
    report["total_seconds"] = round(sum(report["seconds"].values()), 1)
    replace_file(config.report, json_writer(report))
    unended = round((1 - evaluation["ended"]) * evaluation["questions"])
    curves = " and ".join(f"{config.places[name]}/training.png" for name in ("demo", "grpo"))
    print(
        f"\n{evaluation['right']:.1%} of {evaluation['questions']} held-out questions right, "
        f"{before['right']:.1%} before the rewards; {unended} answers did not end by themselves\n"
        f"{tool_use(evaluation)}\n"
        f"{report['total_seconds'] / 60:.1f} minutes; report: {config.report.relative_to(ROOT)}, "
        f"curves: {curves}\nTalk to it: {talk(config)}\nWith a calculator and a calendar: "
        f"python inference/inference.py --model_dir {config.places['grpo']} --tools {TOOLS_FILE} "
        f"--tool_file {FUNCTIONS_FILE}"
    )


def tool_use(evaluation: dict[str, Any]) -> str:
    """What the held-out questions with tools gave, in a line."""
    calls, restraint = (
        f"{row['value']:.1%} of {row['records']} (95%: {row['low']:.1%} to {row['high']:.1%})"
        for row in evaluation["files"]
    )
    return f"with tools: right call and answer {calls}, no call where none is needed {restraint}"


def talk(config: DemoConfig) -> str:
    """The command that chats with the model."""
    if config.seed == 1:
        return "make chat"
    return f"python inference/inference.py --model_dir {config.places['grpo']}"


def converse(config: DemoConfig) -> list[list[Message]]:
    """Holds the scripted conversations with the model and prints them."""
    from inference.terminal.backends import EtudeBackend
    from inference.terminal.session import ChatSession, read_tools
    from inference.terminal.tool_calls import load_functions

    sampling = SamplingConfig(temperature=0.0, max_tokens=200)
    backend = EtudeBackend.load(ChatConfig(model_dir=config.path("{grpo}"), sampling=sampling))
    tools = read_tools(ROOT / TOOLS_FILE)
    functions = load_functions(ROOT / FUNCTIONS_FILE, tools)
    sessions = [ChatSession(backend, None) for _ in TRANSCRIPT]
    sessions += [ChatSession(backend, None, tools, {}, functions) for _ in TRANSCRIPT_WITH_TOOLS]
    for session, turns in zip(sessions, TRANSCRIPT + TRANSCRIPT_WITH_TOOLS, strict=True):
        for turn in turns:
            session.ask(turn, lambda _: None)
        for message in session.messages:
            print(f"  {SPOKEN[message['role']]}  {shown(message)}")
        print()
    return [session.messages for session in sessions]


def shown(message: Message) -> str:
    """What a message says, or calls."""
    calls = [call["function"] for call in message.get("tool_calls", [])]
    return "; ".join(f"calls {c['name']}({c['arguments']})" for c in calls) or message["content"]


if __name__ == "__main__":
    run_script(main)
