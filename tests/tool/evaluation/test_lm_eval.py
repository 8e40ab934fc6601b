"""lm-eval runs on a converted model, and finds what our own measures find.

lm-eval brings some forty packages along, so it is no part of what the tests are installed with.
Where it is in this environment, it runs here; else in the one whose Python the environment variable
ETUDE_LM_EVAL names:

    python -m venv lm && lm/bin/pip install -r requirements.txt "lm-eval[hf]"
    ETUDE_LM_EVAL=lm/bin/python pytest tests/tool/evaluation/test_lm_eval.py
"""

from __future__ import annotations

import importlib.util
import json
import os
import random
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from config import ROOT, ModelConfig, UserError
from model.directory.pretrained import save_pretrained
from model.tokenizer import EtudeTokenizer
from model.transformer import Etude
from tests.inference.http_server import NAME, running, tiny_model
from tool.conversion.hf import convert
from tool.evaluation.evaluation import line, measure_files
from tool.evaluation.lm_eval_run import run_lm_eval
from tool.settings import ConvertConfig, EvaluateConfig

pytestmark = pytest.mark.full

LETTERS = "abcdefghijklmnopqrstuvwxyz"
HANZI = "从前有一只小狐狸住在河边她说你好世界法国的首都是巴黎"

TASK = """
task: {name}
dataset_path: json
dataset_kwargs:
  data_files:
    test: {file}
test_split: test
output_type: multiple_choice
doc_to_text: "{text}"
doc_to_choice: "{choices}"
doc_to_target: {answer}
target_delimiter: "{delimiter}"
metric_list:
  - metric: acc
  - metric: acc_norm
  - metric: acc_bytes
"""

RUN = """
import json, sys
from pathlib import Path
from tool.evaluation.lm_eval_run import run_lm_eval

model_dir, task_dir, *tasks = sys.argv[1:]
print(json.dumps(run_lm_eval(Path(model_dir), tasks, Path(task_dir), None, "cpu")))
"""


@pytest.fixture
def python() -> str:
    """A Python that has lm-eval."""
    found = os.environ.get("ETUDE_LM_EVAL")
    if not found and importlib.util.find_spec("lm_eval") is None:
        pytest.skip(
            "lm-eval is not installed, and ETUDE_LM_EVAL names no Python that has it (the head of "
            "this file says how to make one)"
        )
    return found or sys.executable


def write_jsonl(path: Path, records: list[dict[str, Any]]) -> Path:
    text = "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records)
    path.write_text(text, encoding="utf-8")
    return path


def a_word(draw: random.Random) -> str:
    """Twelve bytes: twelve Latin letters, or four Chinese characters."""
    if draw.random() < 0.5:
        return "".join(draw.choices(LETTERS, k=12))
    return "".join(draw.choices(HANZI, k=4))


def ask(python: str, model_dir: Path, task_dir: Path, *tasks: str) -> dict[tuple[str, str], float]:
    """What lm-eval finds, by task and metric; there is no network for it."""
    result = subprocess.run(
        [python, "-c", RUN, model_dir, task_dir, *tasks],
        cwd=ROOT,
        env={**os.environ, "HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1"},
        capture_output=True,
        encoding="utf-8",
        timeout=300,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    rows = json.loads(result.stdout.splitlines()[-1])
    return {(row["task"], row["measure"]): row["value"] for row in rows}


@pytest.mark.full
@pytest.mark.parametrize("is_chat", [True, False], ids=["chat", "pretrained"])
def test_lm_eval_finds_the_same_shares_as_we(
    python: str, tmp_path: Path, model: Etude, tokenizer: EtudeTokenizer, is_chat: bool
) -> None:
    # lm-eval counts the line break before an answer as part of it. That cancels out where all
    # answers have as many bytes, and only there (docs/evaluation.md).
    draw = random.Random(1)
    choices = [
        {
            "question": f"{a_word(draw)} {a_word(draw)}",
            "choices": [a_word(draw) for _ in range(4)],
            "answer": draw.randrange(4),
        }
        for _ in range(60)
    ]
    pairs = [{"good": a_word(draw) * 2, "bad": a_word(draw) * 2} for _ in range(60)]
    files = (
        write_jsonl(tmp_path / "choices.jsonl", choices),
        write_jsonl(tmp_path / "pairs.jsonl", pairs),
    )
    model_dir = tmp_path / "model"
    model_dir.mkdir()
    save_pretrained(model_dir, model, tokenizer, {}, is_chat)
    ours = [row["value"] for row in measure_files(EvaluateConfig(model_dir, files))]

    task_dir = tmp_path / "tasks"
    task_dir.mkdir()
    asked = {
        "text": "{{question}}" if is_chat else "<|endoftext|>{{question}}",
        "choices": "{{choices}}",
        "answer": "answer",
        "delimiter": "\\n",
    }
    compared = {"text": "", "choices": "{{[good, bad]}}", "answer": 0, "delimiter": ""}
    for name, file, fields in (("of_four", files[0], asked), ("of_two", files[1], compared)):
        text = TASK.format(name=name, file=file, **fields)
        (task_dir / f"{name}.yaml").write_text(text, encoding="utf-8")
    found = ask(python, model_dir, task_dir, "of_four", "of_two")
    assert found["of_four", "acc_bytes"] == ours[0]
    assert found["of_four", "acc_norm"] != ours[0]  # that is per character
    if not is_chat:  # a chat model is asked for each of a pair in a conversation
        assert found["of_two", "acc"] == ours[1]
    assert 0 < ours[0] < 1
    assert 0 < ours[1] < 1


def test_without_lm_eval_one_sentence_says_what_to_install(
    model_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "lm_eval", None)
    with pytest.raises(UserError, match=r"cannot be imported .*; run `pip install \"lm-eval\[hf\]"):
        run_lm_eval(model_dir, ["blimp"], None, None, "cpu")


class FakeHarness:
    """lm-eval's interface, without lm-eval."""

    all_tasks = ("near", "far")

    def __init__(self) -> None:
        self.asked: dict[str, Any] = {}

    def model(self, **settings: Any) -> str:
        assert (Path(settings["pretrained"]) / "conversion.json").is_file()
        self.asked |= settings
        return "a model"

    def tasks(self, include_path: str | None) -> FakeHarness:
        return self

    def simple_evaluate(self, **settings: Any) -> dict[str, Any]:
        self.asked |= settings
        if settings["tasks"] == ["far"]:
            raise ConnectionError("Couldn't reach 'far' on the Hub\nand more")
        scores = {"alias": "near", "acc,none": 0.5, "acc_stderr,none": 0.1, "sample_len": 25}
        written = {"exact_match,strict": 1.0, "exact_match_stderr,strict": "N/A"}
        return {
            "results": {"near": scores | written},
            "higher_is_better": {"near": {"acc": True}},
            "n-samples": {"near": {"original": 30, "effective": 25}},
        }


@pytest.fixture
def harness(monkeypatch: pytest.MonkeyPatch) -> FakeHarness:
    fake = FakeHarness()
    package = SimpleNamespace(simple_evaluate=fake.simple_evaluate)
    monkeypatch.setattr(
        "tool.evaluation.lm_eval_run.import_lm_eval", lambda: (package, fake.model, fake.tasks)
    )
    return fake


def test_an_etude_model_is_converted_for_the_while_and_a_conversion_taken_as_it_is(
    model_dir: Path,
    tokenizer: EtudeTokenizer,
    harness: FakeHarness,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    run_lm_eval(model_dir, ["near"], None, 25, "cpu")
    for_the_while = Path(harness.asked["pretrained"])
    assert not for_the_while.exists()
    assert [path.name for path in model_dir.parent.iterdir()] == [model_dir.name]
    assert harness.asked["prefix_token_id"] == tokenizer.end_of_text_id
    assert (harness.asked["limit"], harness.asked["apply_chat_template"]) == (25, True)

    output, _ = convert(ConvertConfig(model_dir))
    monkeypatch.chdir(output.parent)
    run_lm_eval(Path(output.name), ["near"], None, None, "cpu")
    assert Path(harness.asked["pretrained"]) == output.resolve()


def test_each_metric_becomes_a_row(model_dir: Path, harness: FakeHarness) -> None:
    scored, written = run_lm_eval(model_dir, ["near"], None, None, "cpu")
    assert (scored["task"], scored["measure"], scored["better"]) == ("near", "acc", "higher")
    assert (scored["value"], scored["stderr"], scored["records"]) == (0.5, 0.1, 25)
    assert (scored["low"], scored["high"]) == pytest.approx((0.304, 0.696))
    assert line(scored).split() == ["near", "acc", "0.5000", "0.3040", "to", "0.6960", "-", "25"]
    assert (written["measure"], written["better"]) == ("exact_match, strict", None)
    assert written["stderr"] is written["low"] is written["high"] is None


def test_what_cannot_be_asked_is_one_sentence(
    tmp_path: Path, model_dir: Path, harness: FakeHarness
) -> None:
    with pytest.raises(UserError, match="--lm_eval other: there is no such task in lm-eval or in"):
        run_lm_eval(model_dir, ["near", "other"], tmp_path, None, "cpu")
    with pytest.raises(
        UserError, match=r"far: the data .* be had: Couldn't reach 'far' on the Hub"
    ):
        run_lm_eval(model_dir, ["far"], None, None, "cpu")
    with pytest.raises(UserError, match="there is no model here"):
        run_lm_eval(tmp_path, ["near"], None, None, "cpu")


BOTH = """
import json, sys
from lm_eval import simple_evaluate
from lm_eval.tasks import TaskManager

kind, arguments, task_dir, task, batch = sys.argv[1:]
found = simple_evaluate(
    kind, arguments, [task], task_manager=TaskManager(include_path=task_dir), batch_size=int(batch)
)
samples = sorted(found["samples"][task], key=lambda sample: sample["doc_id"])
likelihoods = [float(one[0][0]) for sample in samples for one in sample["resps"]]
print(json.dumps({"acc": found["results"][task]["acc,none"], "likelihoods": likelihoods}))
"""


def likelihoods(
    python: str, kind: str, arguments: str, task_dir: Path, task: str, batch: int
) -> tuple[float, list[float]]:
    """The accuracy, and the log-likelihood of each answer, as a model of lm-eval's finds them."""
    result = subprocess.run(
        [python, "-c", BOTH, kind, arguments, task_dir, task, str(batch)],
        cwd=task_dir,
        env={
            **os.environ,
            **{"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "OPENAI_API_KEY": "-"},
        },
        capture_output=True,
        encoding="utf-8",
        timeout=300,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    found = json.loads(result.stdout.splitlines()[-1])
    return found["acc"], found["likelihoods"]


def test_likelihoods_over_http_are_those_of_transformers(
    python: str, tmp_path: Path, tokenizer: EtudeTokenizer, model_config: ModelConfig
) -> None:
    draw = random.Random(1)
    choices = [
        {
            "question": f"{a_word(draw)} {a_word(draw)}",
            "choices": [a_word(draw)[: draw.randint(2, 12)] for _ in range(4)],
            "answer": draw.randrange(4),
        }
        for _ in range(20)
    ]
    file = write_jsonl(tmp_path / "choices.jsonl", choices)
    served = tiny_model(tokenizer, model_config, is_chat=False)
    (tmp_path / "model").mkdir()
    save_pretrained(tmp_path / "model", served.engine.model, tokenizer, {}, is_chat=False)
    output, _ = convert(ConvertConfig(tmp_path / "model"))
    task_dir = tmp_path / "tasks"
    task_dir.mkdir()
    # Before a text stands <|endoftext|>: lm-eval must write it, the server does.
    for name, begin in (("begun", "<|endoftext|>"), ("plain", "")):
        fields = {"name": name, "file": file, "text": begin + "{{question}}"}
        fields |= {"choices": "{{choices}}", "answer": "answer", "delimiter": " "}
        text = TASK.format(**fields).replace("  - metric: acc_bytes\n", "")
        (task_dir / f"{name}.yaml").write_text(text, encoding="utf-8")
    place = f"pretrained={output},dtype=float32,device=cpu"
    accuracy, expected = likelihoods(python, "hf", place, task_dir, "begun", 4)
    assert len(expected) == 80
    with running(served) as server:
        api = f"model={NAME},base_url={server.address}/v1/completions,tokenizer={output}"
        api += ",tokenizer_backend=huggingface,max_length=512"
        for ids, task, batch in (("True", "begun", 1), ("True", "begun", 8), ("False", "plain", 8)):
            arguments = f"{api},tokenized_requests={ids}"
            made = likelihoods(python, "local-completions", arguments, task_dir, task, batch)
            assert made[0] == accuracy
            assert made[1] == pytest.approx(expected, abs=1e-4, rel=1e-5)
