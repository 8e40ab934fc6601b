"""A conversion is proved, or it is not there."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoTokenizer, pipeline

from config import ROOT, UserError
from model.directory.pretrained import load_pretrained, save_pretrained
from model.directory.storage import verify, write_directory
from model.tokenizer import EtudeTokenizer
from model.transformer import Etude
from tool.conversion.hf import convert
from tool.conversion.hf_proof import ProofFailed, prove
from tool.settings import ConvertConfig


def test_script_converts_from_any_folder_and_prints_its_proof(
    tmp_path: Path, model_dir: Path
) -> None:
    result = subprocess.run(
        [sys.executable, ROOT / "tool" / "convert_hf.py", "--model_dir", model_dir.name],
        cwd=tmp_path,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    assert result.stderr == ""
    for said in ("largest difference", "greedy tokens", "renderings, all ids equal"):
        assert said in result.stdout
    verify(tmp_path / "etude_sft_model_hf")


@pytest.mark.full
@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_every_number_format_is_proved_and_loads(
    model_dir: Path, dtype: Literal["float32", "bfloat16", "float16"]
) -> None:
    output, proof = convert(ConvertConfig(model_dir, dtype=dtype))
    assert output == model_dir.with_name("etude_sft_model_hf")
    assert proof.largest_logit_difference < 1e-5
    assert proof.greedy_tokens_equal == proof.padded_tokens_equal == proof.greedy_tokens > 100
    assert {t.dtype for t in load_file(output / "model.safetensors").values()} == {
        getattr(torch, dtype)
    }
    llama: Any = AutoModelForCausalLM.from_pretrained(output, dtype="auto", local_files_only=True)
    assert llama.dtype == getattr(torch, dtype)
    report = json.loads((output / "conversion.json").read_text(encoding="utf-8"))
    assert report["dtype"] == dtype
    assert report["proof"]["template_renderings_equal"] > 10


def test_a_conversion_does_not_tell_where_files_of_its_maker_lie(
    model: Etude, tokenizer: EtudeTokenizer, tmp_path: Path
) -> None:
    command = ["/secret/etude/train/train_sft.py", "--sft_files", r"C:\secret\a.jsonl"]
    command += ["--tokenizer_dir=/secret/tokenizer", "--learning_rate", "1e-3"]
    save_pretrained(tmp_path / "m", model, tokenizer, {"command": command}, is_chat=True)
    output, _ = convert(ConvertConfig(tmp_path / "m"))
    summary = json.loads((output / "training_summary.json").read_text(encoding="utf-8"))
    assert summary["command"] == [
        *("train_sft.py", "--sft_files", "a.jsonl", "--tokenizer_dir=tokenizer"),
        *("--learning_rate", "1e-3"),
    ]
    report = (output / "conversion.json").read_text(encoding="utf-8")
    assert str(tmp_path) not in report


def test_converted_files_say_what_every_reader_needs(
    model_dir: Path, tokenizer: EtudeTokenizer
) -> None:
    output, _ = convert(ConvertConfig(model_dir))
    config = json.loads((output / "config.json").read_text(encoding="utf-8"))
    assert config["rope_theta"] == config["rope_parameters"]["rope_theta"] == 10_000.0
    assert config["architectures"] == ["LlamaForCausalLM"]
    assert config["bos_token_id"] == tokenizer.end_of_text_id
    generation = json.loads((output / "generation_config.json").read_text(encoding="utf-8"))
    assert generation["eos_token_id"] == [tokenizer.end_of_turn_id, tokenizer.end_of_text_id]
    assert generation["bos_token_id"] == tokenizer.end_of_text_id
    auto: Any = AutoTokenizer.from_pretrained(output, local_files_only=True)
    assert (auto.eos_token, auto.pad_token) == ("<|im_end|>", "<|endoftext|>")
    assert auto.chat_template
    assert json.loads((output / "training_summary.json").read_text(encoding="utf-8")) == {
        "made_by": "a test"
    }


def test_a_batch_and_a_pipeline_answer_as_one_call_does(model_dir: Path) -> None:
    output, _ = convert(ConvertConfig(model_dir))
    llama: Any = AutoModelForCausalLM.from_pretrained(output, local_files_only=True)
    auto: Any = AutoTokenizer.from_pretrained(output, local_files_only=True)
    texts = ["Once upon a time", "你好", "3 + 8 = 11. What is your name? My name is"]

    def answers(batch: list[str]) -> list[str]:
        inputs = auto(batch, return_tensors="pt", padding=True)
        made = llama.generate(**inputs, max_new_tokens=8)
        return list(auto.batch_decode(made[:, inputs["input_ids"].shape[1] :]))

    alone = [answers([text])[0] for text in texts]
    for answer, batched in zip(alone, answers(texts), strict=True):
        assert batched.startswith(answer)  # what has ended is padded
    generate = pipeline("text-generation", model=llama, tokenizer=auto)
    chats = [[{"role": "user", "content": text}] for text in texts]
    for asked in (texts, chats):
        one_by_one = [generate(each, max_new_tokens=8, do_sample=False) for each in asked]
        assert generate(asked, max_new_tokens=8, do_sample=False, batch_size=2) == one_by_one


def test_a_pretrained_model_ends_at_the_end_of_the_text(
    tmp_path: Path, model: Etude, tokenizer: EtudeTokenizer
) -> None:
    directory = tmp_path / "pretrained"
    directory.mkdir()
    save_pretrained(directory, model, tokenizer, {}, is_chat=False)
    output, _ = convert(ConvertConfig(directory))
    generation = json.loads((output / "generation_config.json").read_text(encoding="utf-8"))
    assert generation["eos_token_id"] == [tokenizer.end_of_text_id]


def test_a_conversion_is_an_etude_too(model_dir: Path) -> None:
    output, _ = convert(ConvertConfig(model_dir))
    ids = torch.tensor([[5, 6, 7]])
    assert torch.equal(load_pretrained(output)[0](ids), load_pretrained(model_dir)[0](ids))


def change_json(name: str, **changes: Any) -> Callable[[Path], None]:
    def tamper(directory: Path) -> None:
        path = directory / name
        path.write_text(
            json.dumps({**json.loads(path.read_text(encoding="utf-8")), **changes}),
            encoding="utf-8",
        )

    return tamper


def change_weight(directory: Path) -> None:
    path = directory / "model.safetensors"
    weights = load_file(path)
    weights["model.layers.0.mlp.up_proj.weight"][3, 4] += 0.5
    save_file(weights, path, metadata={"format": "pt"})


def change_tokenizer(directory: Path) -> None:
    path = directory / "tokenizer.json"
    fields = json.loads(path.read_text(encoding="utf-8"))
    fields["model"]["merges"] = fields["model"]["merges"][:20]
    path.write_text(json.dumps(fields), encoding="utf-8")


@pytest.mark.parametrize(
    ("tamper", "said"),
    [
        (change_weight, "the logits differ by"),
        (change_tokenizer, "tokenizer reads Hello as"),
        (change_json("config.json", rope_theta=500.0), "rope_theta"),
        (change_json("config.json", rope_parameters={"rope_theta": 500.0}), "rope_theta"),
        (change_json("config.json", rms_norm_eps=0.1), "the logits differ by"),
        (change_json("config.json", model_type="gpt_neox"), "transformers loads"),
        (change_json("config.json", torch_dtype="bfloat16"), "in place of LlamaForCausalLM"),
        (change_json("generation_config.json", eos_token_id=[0]), "does not stop"),
        (change_json("tokenizer_config.json", eos_token="<|endoftext|>"), "end token"),
        (change_json("tokenizer_config.json", padding_side="right"), "of a padded batch part"),
        (
            change_json("tokenizer_config.json", model_input_names=["input_ids"]),
            "does not name input_ids and attention_mask",
        ),
        (change_json("tokenizer_config.json", bos_token=None), "has no bos_token"),
        (
            change_json("tokenizer_config.json", chat_template="{{ messages[0]['content'] }}"),
            "the chat template is not that of the model",
        ),
        (
            lambda directory: (directory / "config.json").write_text("{", encoding="utf-8"),
            "cannot load",
        ),
    ],
)
def test_a_tampered_conversion_is_refused_and_leaves_nothing(
    model_dir: Path,
    monkeypatch: pytest.MonkeyPatch,
    tamper: Callable[[Path], object],
    said: str,
) -> None:
    output, _ = convert(ConvertConfig(model_dir))
    good = {path.name: path.read_bytes() for path in output.iterdir()}

    def tampered(directory: Path, *rest: Any) -> object:
        tamper(directory)
        return prove(directory, *rest)

    monkeypatch.setattr("tool.conversion.hf.prove", tampered)
    with pytest.raises(ProofFailed, match=said):
        convert(ConvertConfig(model_dir))
    assert {path.name: path.read_bytes() for path in output.iterdir()} == good  # the earlier one
    assert sorted(p.name for p in model_dir.parent.iterdir()) == [
        "etude_sft_model",
        "etude_sft_model_hf",
    ]


@pytest.mark.full
def test_a_failed_proof_ends_the_script_with_code_1(
    model_dir: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from tool import convert_hf

    def fail(*_: object) -> None:
        raise ProofFailed("the logits differ by 3")

    monkeypatch.setattr("tool.conversion.hf.prove", fail)
    monkeypatch.setattr(sys, "argv", ["convert_hf.py", "--model_dir", str(model_dir)])
    assert convert_hf.main() == 1
    errors = capsys.readouterr().err
    assert errors == "error: the proof failed, so nothing was written: the logits differ by 3\n"


def test_other_directories_are_never_replaced(tmp_path: Path, model_dir: Path) -> None:
    other = tmp_path / "photos"
    other.mkdir()
    (other / "cat.jpg").write_bytes(b"a cat")
    with pytest.raises(UserError, match="photos holds something that is not an earlier conversion"):
        convert(ConvertConfig(model_dir, other))
    with pytest.raises(UserError, match="is the model itself"):
        convert(ConvertConfig(model_dir, model_dir, overwrite=True))
    with pytest.raises(UserError, match="is a file"):
        convert(ConvertConfig(model_dir, other / "cat.jpg", overwrite=True))
    assert (other / "cat.jpg").read_bytes() == b"a cat"
    convert(ConvertConfig(model_dir, other, overwrite=True))
    assert not (other / "cat.jpg").exists()


def test_a_value_too_large_for_float16_is_named(
    model_dir: Path, model: Etude, tokenizer: EtudeTokenizer
) -> None:
    with torch.no_grad():
        model.model.norm.weight[3] = 1e6
    save_pretrained(model_dir, model, tokenizer, {}, is_chat=True)
    with pytest.raises(UserError, match=r"--dtype float16: model\.norm\.weight"):
        convert(ConvertConfig(model_dir, dtype="float16"))
    assert not model_dir.with_name("etude_sft_model_hf").exists()


def test_a_missing_or_damaged_model_is_refused(tmp_path: Path, model_dir: Path) -> None:
    with pytest.raises(UserError, match="there is no model here"):
        convert(ConvertConfig(tmp_path / "none"))
    write_directory(
        tmp_path / "odd", {"config.json": lambda p: p.write_text("{}", encoding="utf-8")}
    )
    with pytest.raises(UserError, match="model_type is None, and Etude"):
        convert(ConvertConfig(tmp_path / "odd"))
    assert not (tmp_path / "odd_hf").exists()
