"""Likelihoods are exact, each kind of file is measured as it says, and intervals hold."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from matplotlib import pyplot

from config import ROOT, QuantizeName, SamplingConfig, UserError
from inference.engine.answers import GenerationRequest
from inference.engine.engine import Engine, generate_batch
from inference.engine.native import LIBRARY
from inference.engine.rounding import quantize_model
from model.chat import render
from model.tokenizer import EtudeTokenizer
from model.transformer import Etude
from tool.conversion.hf import convert
from tool.evaluation.evaluation import RECORDS, compare, measure_files
from tool.evaluation.picture import draw_rows
from tool.settings import ConvertConfig, EvaluateConfig
from train.measures.files import MEASURES, read_measures
from train.measures.intervals import interval, paired_interval, ratio, verdict
from train.measures.likelihood import (
    LikelihoodModel,
    Outcome,
    Span,
    load_likelihood_model,
    log_likelihoods,
    windows,
)


@pytest.fixture
def scorer(model: Etude, tokenizer: EtudeTokenizer) -> LikelihoodModel:
    return LikelihoodModel(model, model, tokenizer, 128, False, torch.device("cpu"))


def by_hand(scorer: LikelihoodModel, ids: list[int], first: int) -> float:
    with torch.no_grad():
        logprobs = scorer.model(torch.tensor([ids]))[0].log_softmax(-1)
    return sum(float(logprobs[place - 1, ids[place]]) for place in range(first, len(ids)))


def write(path: Path, *records: dict[str, Any]) -> Path:
    lines = [json.dumps(record, ensure_ascii=False) + "\n" for record in records]
    path.write_text("".join(lines), encoding="utf-8")
    return path


def measured(scorer: LikelihoodModel, path: Path) -> dict[str, list[Outcome]]:
    measures, records = read_measures(path, None)
    return {measure.name: measure.run(scorer, records) for measure in measures}


def test_batched_likelihoods_are_those_of_each_text_alone(scorer: LikelihoodModel) -> None:
    draw = torch.Generator().manual_seed(1)
    spans = []
    for number in range(40):
        length = int(torch.randint(2, 120, (1,), generator=draw))
        ids = torch.randint(400, (length,), generator=draw).tolist()
        spans.append(Span(ids, 1 + number % (length - 1)))
    found = log_likelihoods(scorer, spans)
    for span, value in zip(spans, found, strict=True):
        assert value == pytest.approx(by_hand(scorer, list(span.ids), span.first), abs=1e-3)


def test_of_a_long_text_the_end_is_judged(scorer: LikelihoodModel) -> None:
    ids = torch.randint(400, (200,), generator=torch.Generator().manual_seed(2)).tolist()
    (found,) = log_likelihoods(scorer, [Span(ids, 190)])
    assert found == pytest.approx(by_hand(scorer, ids[-128:], 118), abs=1e-3)


@pytest.mark.parametrize("length", [1, 2, 64, 128, 129, 500])
def test_windows_judge_every_token_after_the_first_once(length: int) -> None:
    ids = list(range(length))
    judged: list[int] = []
    for span in windows(ids, 128):
        assert len(span.ids) <= 128
        assert span.first == 1 or span.first >= 64
        judged += span.ids[span.first :]
    assert judged == ids[1:]


def test_bits_per_byte_of_texts(scorer: LikelihoodModel, tmp_path: Path) -> None:
    texts = ["The fox sat.", "从前，有一只小狐狸。"]
    path = write(tmp_path / "t.jsonl", *({"text": text} for text in texts))
    outcomes = measured(scorer, path)["bits per byte"]
    assert [outcome.group for outcome in outcomes] == ["latin", "han"]
    for text, outcome in zip(texts, outcomes, strict=True):
        ids = [scorer.tokenizer.end_of_text_id, *scorer.tokenizer.encode(text)]
        assert outcome.value == pytest.approx(-by_hand(scorer, ids, 1) / math.log(2), abs=1e-3)
        assert outcome.weight == len(text.encode("utf-8"))


@pytest.mark.parametrize("key", ["conversations", "messages"])
def test_bits_per_byte_of_answers_leave_questions_and_ends_out(
    scorer: LikelihoodModel, tmp_path: Path, key: str
) -> None:
    messages = [
        {"role": "user", "content": "Hello!"},
        {"role": "assistant", "content": "Hi."},
        {"role": "user", "content": "你好"},
        {"role": "assistant", "content": "世界"},
    ]
    path = write(tmp_path / "c.jsonl", {key: messages})
    (outcome,) = measured(scorer, path)["bits per byte"]
    ids, mask = render(scorer.tokenizer, messages)  # type: ignore[arg-type]
    expected = 0.0
    for place, token in enumerate(ids):
        if mask[place] and token != scorer.tokenizer.end_of_turn_id:
            expected -= by_hand(scorer, ids[: place + 1], place) / math.log(2)
    assert outcome.value == pytest.approx(expected, abs=1e-3)
    assert outcome.weight == len("Hi.世界".encode())


def test_of_a_pair_the_likelier_one_wins(scorer: LikelihoodModel, tmp_path: Path) -> None:
    likely, other = "The the the", "hello 世界"
    scores = [
        by_hand(scorer, [scorer.tokenizer.end_of_text_id, *scorer.tokenizer.encode(text)], 1)
        for text in (likely, other)
    ]
    if scores[0] < scores[1]:
        likely, other = other, likely
    pairs = [
        {"good": likely, "bad": other, "phenomenon": "a"},
        {"good": other, "bad": likely, "phenomenon": "b"},
        {"good": other, "bad": other, "phenomenon": "c"},
    ]
    outcomes = measured(scorer, write(tmp_path / "p.jsonl", *pairs))["minimal pairs"]
    assert [(o.group, o.value) for o in outcomes] == [("a", 1.0), ("b", 0.0), ("c", 0.5)]


def test_multiple_choice_finds_the_likeliest_answer(
    scorer: LikelihoodModel, tmp_path: Path
) -> None:
    asked = {"question": "Who?", "choices": ["fox", "the river", "Lily"]}
    path = write(tmp_path / "x.jsonl", *({**asked, "answer": answer} for answer in range(3)))
    assert sorted(o.value for o in measured(scorer, path)["multiple choice"]) == [0.0, 0.0, 1.0]


def test_free_generations_are_counted(scorer: LikelihoodModel, tmp_path: Path) -> None:
    path = write(tmp_path / "g.jsonl", {"prompt": "Once", "lang": "en"}, {"prompt": "从前"})
    scorer.written["Once", "从前"] = [[1, 2, 3, 4, 1, 2, 3, 4], [5, 6]]
    found = measured(scorer, path)
    assert found["repeated 4-grams"][0] == Outcome("en", 1, 5)
    assert found["distinct 2-grams"][0] == Outcome("en", 4, 7)
    scorer.written.clear()
    assert measured(scorer, path) == measured(scorer, path)


def test_a_limit_takes_records_from_the_whole_file(tmp_path: Path) -> None:
    path = write(tmp_path / "t.jsonl", *({"text": str(n)} for n in range(10)))
    assert [record["text"] for record in read_measures(path, 4)[1]] == ["0", "2", "5", "7"]
    assert len(read_measures(path, 99)[1]) == 10


def test_a_file_of_no_known_kind_is_refused_with_its_line(tmp_path: Path) -> None:
    path = write(tmp_path / "x.jsonl", {"good": "a", "bad": "b"}, {"text": "a"})
    with pytest.raises(UserError, match=r"x\.jsonl:2: found the keys \['text'\]"):
        read_measures(path, 1)


def test_every_measure_says_which_way_is_better() -> None:
    assert {measure.better for measure in MEASURES} == {"higher", "lower"}


def test_intervals_hold_the_truth_about_as_often_as_they_say() -> None:
    draw = torch.Generator().manual_seed(3)
    held = 0
    for _ in range(60):
        values = (torch.rand(100, generator=draw) < 0.3).double().tolist()
        low, high = interval(values, [1.0] * 100)
        held += low <= 0.3 <= high
    assert 50 <= held < 60
    assert ratio([1, 2], [2, 4]) == 0.5


def test_a_small_difference_on_the_same_records_is_seen() -> None:
    draw = torch.Generator().manual_seed(4)
    first = torch.rand(300, generator=draw)
    second = first + 0.02 + 0.01 * torch.randn(300, generator=draw)
    difference, (low, high) = paired_interval(
        first.tolist(), second.tolist(), [1.0] * 300, [1.0] * 300
    )
    assert difference == pytest.approx(0.02, abs=0.003)
    assert 0 < low < difference < high
    assert verdict(low, high, "lower", "b") == "b is worse"
    assert verdict(low, high, "higher", "b") == "b is better"
    assert verdict(-low, high, "higher", "b") == "no significant difference"


def test_an_int8_model_is_measured_with_its_rounded_weights(model_dir: Path) -> None:
    plain = load_likelihood_model(model_dir, "cpu", "etude")
    rounded = load_likelihood_model(model_dir, "cpu", "etude", "int8")
    quantize_model(plain.model, "int8")
    for name, weight in plain.model.state_dict().items():
        assert torch.equal(rounded.model.state_dict()[name], weight)


@pytest.mark.parametrize("kind", ["int8", "int4"])
def test_a_rounded_model_answers_questions_as_the_engine_serves_it(
    model_dir: Path, kind: QuantizeName
) -> None:
    model = load_likelihood_model(model_dir, "cpu", "etude").model
    scorer = load_likelihood_model(model_dir, "cpu", "etude", kind)
    prompt, sampling = [5, 6, 7], SamplingConfig(temperature=0.0, max_tokens=20)
    LIBRARY.prepare()
    plain = generate_batch(model, [prompt], sampling, (), top_logprobs=2)[0]
    engine = Engine(model, quantize=kind)  # waits for the compiler
    served = engine.submit(GenerationRequest(prompt, sampling, (), top_logprobs=2))
    while engine.busy:
        engine.step()
    (made,) = generate_batch(scorer.model, [prompt], sampling, (), top_logprobs=2)
    assert list(made.tokens) == list(served.tokens)
    assert made.tokens != plain.tokens


def test_results_of_an_int8_model_want_a_directory_of_their_own(tmp_path: Path) -> None:
    assert "output_dir is not" in EvaluateConfig(quantize="int8").problems()[0]
    assert not EvaluateConfig(quantize="int8", output_dir=tmp_path).problems()


@pytest.mark.full
def test_the_script_measures_draws_and_compares(model_dir: Path, tmp_path: Path) -> None:
    texts = write(tmp_path / "t.jsonl", *({"text": f"A fox number {n}."} for n in range(12)))
    pairs = write(tmp_path / "p.jsonl", {"good": "a b", "bad": "b a"}, {"good": "c", "bad": "d"})
    script = str(ROOT / "tool" / "evaluate.py")

    def run(*flags: str) -> str:
        done = subprocess.run(
            [sys.executable, script, *flags], capture_output=True, encoding="utf-8", check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    files = ("--eval_files", str(texts), str(pairs), "--model_dir", str(model_dir))
    other = tmp_path / "other"
    other.mkdir()
    printed = run(*files)
    assert "minimal pairs" in printed
    run(*files, "--output_dir", str(other))
    rows = json.loads((model_dir / "evaluation.json").read_text(encoding="utf-8"))["files"]
    assert [row["file"] for row in rows] == ["t.jsonl", "p.jsonl"]
    assert rows[0]["low"] < rows[0]["value"] < rows[0]["high"]
    assert (model_dir / "evaluation.png").read_bytes().startswith(b"\x89PNG")
    assert "no significant difference" in run("--compare", str(model_dir), str(other))
    with pytest.raises(UserError, match="not evaluated on files yet"):
        compare(model_dir, tmp_path)


def test_transformers_gives_the_same_numbers(model_dir: Path) -> None:
    spans = [Span(list(range(5, 60)), 1), Span([0, 9, 300, 7], 2)]
    ours, theirs = (
        log_likelihoods(load_likelihood_model(model_dir, "cpu", engine), spans)
        for engine in ("etude", "transformers")
    )
    assert ours == pytest.approx(theirs, abs=1e-3)


def test_the_same_numbers_of_a_conversion_in_bfloat16(model_dir: Path) -> None:
    directory, _ = convert(ConvertConfig(model_dir, dtype="bfloat16"))
    spans = [Span(list(range(5, 60)), 1), Span([0, 9, 300, 7], 2)]
    ours, theirs = (
        log_likelihoods(load_likelihood_model(directory, "cpu", engine), spans)
        for engine in ("etude", "transformers")
    )
    assert ours == pytest.approx(theirs, abs=1e-3)


def test_models_that_write_more_or_less_are_compared(model_dir: Path, tmp_path: Path) -> None:
    kept = {"better": "lower", "records_sha256": "x", "values": [1.0] * 9 + [0.0]}
    for folder, weight in (("a/model", 10.0), ("b/model", 20.0)):
        directory = tmp_path / folder
        directory.mkdir(parents=True)
        record = {"p.jsonl: repeated 4-grams": {**kept, "weights": [weight] * 9 + [0.0]}}
        (directory / RECORDS).write_text(json.dumps(record), encoding="utf-8")
    line = compare(tmp_path / "a/model", tmp_path / "b/model")[1]
    assert "-0.0500" in line
    assert line.endswith(f"{tmp_path / 'b/model'} is better")  # which of the two is told


@pytest.mark.parametrize("content", ["{", "[]", '{"p.jsonl: minimal pairs": {"values": [1]}}'])
def test_damaged_records_are_one_sentence(tmp_path: Path, content: str) -> None:
    (tmp_path / RECORDS).write_text(content, encoding="utf-8")
    with pytest.raises(UserError, match="damaged"):
        compare(tmp_path, tmp_path)


def test_other_records_are_not_compared(model_dir: Path, tmp_path: Path) -> None:
    for number in range(2):
        path = write(tmp_path / "p.jsonl", {"good": f"a {number}", "bad": "b"})
        directory = tmp_path / str(number)
        directory.mkdir()
        measure_files(EvaluateConfig(model_dir, (path,), output_dir=directory))
    with pytest.raises(UserError, match="different records"):
        compare(tmp_path / "0", tmp_path / "1")


def test_two_files_of_one_name_are_refused(model_dir: Path, tmp_path: Path) -> None:
    (tmp_path / "x").mkdir()
    files = tuple(write(tmp_path / name, {"text": "a"}) for name in ("t.jsonl", "x/t.jsonl"))
    with pytest.raises(UserError, match=r"two files are named t\.jsonl"):
        measure_files(EvaluateConfig(model_dir, files))


def test_where_nothing_was_written_there_is_no_row(
    model_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.setattr("train.measures.generations.continuations", lambda *_: [[1, 2], []])
    path = write(tmp_path / "g.jsonl", {"prompt": "a"}, {"prompt": "b"})
    (row,) = measure_files(EvaluateConfig(model_dir, (path,)))
    assert (row["measure"], row["value"], row["records"]) == ("distinct 2-grams", 1.0, 1)
    assert (row["low"], row["high"]) == (1.0, 1.0)
    assert "repeated 4-grams   nothing to measure" in capsys.readouterr().out


def test_references_are_measured_as_answers(scorer: LikelihoodModel, tmp_path: Path) -> None:
    asked = {"question": "你好？", "reference": "世界。"}
    records = [{**asked, "class": "x"}, {"question": "And?", "reference": ""}]
    found, none = measured(scorer, write(tmp_path / "r.jsonl", *records))["bits per byte"]
    assert (none.value, none.weight) == (0.0, 0)
    turns = (("user", asked["question"]), ("assistant", asked["reference"]))
    messages = [{"role": role, "content": content} for role, content in turns]
    (same,) = measured(scorer, write(tmp_path / "c.jsonl", {"conversations": messages}))[
        "bits per byte"
    ]
    assert (found.group, found.value, found.weight) == ("x", same.value, same.weight)


@pytest.mark.parametrize(
    ("record", "told"),
    [
        ({"text": 5}, '"text" is a int'),
        ({"conversations": [{"role": "user", "content": "a"}]}, "no assistant's turn"),
        ({"good": "a", "bad": ""}, '"bad" is empty'),
        ({"question": "a", "choices": ["b"], "answer": 0}, "two choices at least"),
        ({"question": "a", "choices": ["b", "c"], "answer": "B"}, "\"answer\" is 'B'"),
        ({"question": "a", "choices": ["b", "c"], "answer": 2}, "from 0 to 1"),
        ({"question": "a", "choices": ["b", "c"], "answer": 1.0}, '"answer" is 1.0'),
        ({"content": "a", "candidates": ["b", "c"], "answer": 0}, "one kind"),
        ({"prompt": " "}, '"prompt" is empty'),
        ({"question": "a", "reference": None}, '"reference" is a NoneType'),
    ],
)
def test_a_record_that_cannot_be_measured_is_named(
    tmp_path: Path, record: dict[str, Any], told: str
) -> None:
    with pytest.raises(UserError, match=rf"x\.jsonl:1: .*{told}"):
        read_measures(write(tmp_path / "x.jsonl", record), None)


def test_the_legend_of_the_picture_stands_on_no_row() -> None:
    figure, axis = pyplot.subplots(layout="constrained")
    row = {"file": "a.jsonl", "measure": "minimal pairs", "value": 0.9, "low": 0.8, "high": 1.0}
    draw_rows(axis, [{**row, "chance": 0.5}, {**row, "chance": None}])
    figure.draw_without_rendering()
    legend = axis.get_legend()
    assert legend is not None
    assert legend.get_window_extent().y0 >= axis.get_window_extent().y1 - 1
    pyplot.close(figure)
