"""The tokenizer's script: stages, refusals, the same file on any number of threads, the proof."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from config import ROOT, UserError
from model.chat_template import IM_END
from model.directory.storage import text_writer, verify, write_directory
from model.tokenizer import EtudeTokenizer, tokenizer_config, tokenizer_json
from train.tokenizer.bpe import (
    LONGEST_WORD,
    QWEN2_PATTERN,
    Sample,
    count_long_words,
    survey,
    train_bpe,
)
from train.tokenizer.report import (
    disagreements,
    find_problems,
    forged_tokens,
    lost_texts,
    report,
    wrong_ids,
    wrong_parts,
)

SCRIPT = ROOT / "train" / "train_tokenizer.py"
WORDS = [
    "the",
    "little",
    "fox",
    "near",
    "river",
    "said",
    "hello",
    "world",
    "named",
    "lily",
    "saw",
    "a",
    "bird",
    "and",
    "blue",
    "sky",
    "was",
    "happy",
    "从前",
    "小狐狸",
    "住在",
    "河边",
    "她说",
    "你好",
    "世界",
    "月亮",
    "很高兴",
    "看见",
    "了",
    "一只",
    "鸟",
    "天空",
    "是",
    "蓝色",
    "的",
]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """300 records of random words, every other one in Chinese."""
    generator = random.Random(3)
    path = tmp_path / "data.jsonl"
    lines = []
    for number in range(300):
        words = WORDS[20:] if number % 2 else WORDS[:20]
        text = ("，" if number % 2 else " ").join(generator.choices(words, k=30))
        lines.append(json.dumps({"text": f"{text} {number}"}, ensure_ascii=False))
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def run(*args: object, **variables: str) -> subprocess.CompletedProcess[str]:
    """The script's result in a process of its own."""
    command = [sys.executable, str(SCRIPT), *map(str, args)]
    return subprocess.run(
        command, capture_output=True, text=True, encoding="utf-8", env=os.environ | variables
    )


def flags(data: Path, directory: Path, vocab_size: int = 330) -> list[object]:
    where: list[object] = ["--pretrain_files", data, "--tokenizer_dir", directory]
    return [*where, "--vocab_size", vocab_size]


def assert_refused(result: subprocess.CompletedProcess[str], *parts: str) -> None:
    """One sentence on standard error, no traceback, a non-zero exit."""
    assert result.returncode == 2, result.stderr
    assert result.stderr.startswith("error: ")
    assert result.stderr.count("\n") == 1
    for part in parts:
        assert part in result.stderr


def test_all_stages_in_a_row_make_a_proved_tokenizer(data: Path, tmp_path: Path) -> None:
    directory = tmp_path / "tokenizer"
    result = run("all", *flags(data, directory))
    assert result.returncode == 0, result.stderr
    assert "300 records" in result.stdout
    assert "han: " in result.stdout
    assert "latin: " in result.stdout
    assert "of 330 tokens are not used" in result.stdout
    assert "proved" in result.stdout
    verify(directory)
    assert len(EtudeTokenizer.load(directory)) == 330
    summary = json.loads((directory / "training_summary.json").read_text(encoding="utf-8"))
    assert summary["origin"]["vocab_size"] == 330
    assert summary["data"][0]["sha256"] == survey(data).sha256
    assert summary["bytes_used"] == summary["data"][0]["bytes"]
    assert "train_tokenizer.py all" in summary["command"]


def test_the_file_is_the_same_on_any_number_of_threads(data: Path, tmp_path: Path) -> None:
    files = set()
    for number, variables in enumerate(
        [
            {"RAYON_NUM_THREADS": "1"},
            {"RAYON_NUM_THREADS": "2"},
            {"RAYON_NUM_THREADS": "5", "PYTHONHASHSEED": "7"},
            {"TOKENIZERS_PARALLELISM": "false"},
            {"TOKENIZERS_PARALLELISM": "true"},
        ]
    ):
        directory = tmp_path / str(number)
        assert run("train", *flags(data, directory), **variables).returncode == 0
        files.add((directory / "tokenizer.json").read_bytes())
    assert len(files) == 1


def test_config_writes_nothing(data: Path, tmp_path: Path) -> None:
    result = run("config", *flags(data, tmp_path / "tokenizer"))
    assert result.returncode == 0, result.stderr
    assert "300 records" in result.stdout
    assert not (tmp_path / "tokenizer").exists()


def test_the_same_command_again_keeps_what_is_there(data: Path, tmp_path: Path) -> None:
    directory = tmp_path / "tokenizer"
    run("train", *flags(data, directory))
    before = (directory / "tokenizer.json").stat().st_mtime_ns
    again = run("train", *flags(data, directory))
    assert again.returncode == 0
    assert "already there" in again.stdout
    assert (directory / "tokenizer.json").stat().st_mtime_ns == before


def test_another_tokenizer_is_replaced_only_when_asked(data: Path, tmp_path: Path) -> None:
    directory = tmp_path / "tokenizer"
    run("train", *flags(data, directory))
    before = (directory / "tokenizer.json").read_bytes()
    refused = run("train", *flags(data, directory, vocab_size=320))
    assert_refused(refused, "other data or settings", "--tokenizer_dir", "--overwrite`")
    assert (directory / "tokenizer.json").read_bytes() == before
    assert run("train", *flags(data, directory, 320), "--overwrite").returncode == 0
    assert len(EtudeTokenizer.load(directory)) == 320


def test_a_damaged_tokenizer_is_named(data: Path, tmp_path: Path) -> None:
    directory = tmp_path / "tokenizer"
    run("train", *flags(data, directory))
    os.truncate(directory / "tokenizer_config.json", 10)
    assert_refused(run("train", *flags(data, directory)), "damaged", "--overwrite`")
    proof = run("verify", *flags(data, directory))
    assert proof.returncode == 1
    assert "tokenizer_config.json has 10 bytes in place of" in proof.stderr


def test_a_directory_of_other_things_is_never_replaced(data: Path, tmp_path: Path) -> None:
    refused = run("train", *flags(data, tmp_path), "--overwrite")
    assert_refused(refused, "holds data.jsonl, which is not part of a tokenizer")
    assert data.exists()
    assert_refused(run("train", *flags(data, data)), "is a file; name a directory")


def test_a_vocabulary_larger_than_the_data_allows_names_what_it_gave(
    data: Path, tmp_path: Path
) -> None:
    directory = tmp_path / "tokenizer"
    refused = run("train", *flags(data, directory, vocab_size=5000))
    assert_refused(refused, "fewer than the 5000 asked for", "use --vocab_size ")
    assert not directory.exists()
    most = refused.stderr.split("--vocab_size ")[1].split(",")[0]
    assert run("train", *flags(data, directory, vocab_size=int(most))).returncode == 0


def test_every_file_is_read_to_its_end_before_anything_is_made(data: Path, tmp_path: Path) -> None:
    with data.open("a", encoding="utf-8") as file:
        file.write('{"txt": "wrong key"}\n')
    for stage in ("config", "train", "all"):
        refused = run(stage, *flags(data, tmp_path / "tokenizer"))
        assert_refused(refused, f"{data}:301: found the keys ['txt']")
    assert not (tmp_path / "tokenizer").exists()


@pytest.mark.parametrize(
    ("args", "sentence"),
    [
        ([], "no stage is given: begin with one of config, train, verify, all"),
        (["learn"], "'learn' is not a stage: begin with one of"),
        (["train", "--vocab_size", "10"], "vocab_size is 10: use a value at least 259"),
        (["train", "--max_bytes", "0"], "max_bytes is 0: use a value above 0"),
        (["train", "--min_frequency", "-1"], "min_frequency is -1: use a value above 0"),
        (["train", "--pretrain_files", "none.jsonl"], "none.jsonl: there is no such file"),
    ],
)
def test_a_wrong_command_line_is_one_sentence(args: list[str], sentence: str) -> None:
    assert_refused(run(*args), sentence)


def test_a_missing_tokenizer_cannot_be_verified(data: Path, tmp_path: Path) -> None:
    refused = run("verify", *flags(data, tmp_path / "none"))
    assert_refused(refused, "there is no tokenizer; train one with")


def test_more_text_than_the_limit_is_sampled_evenly_and_the_same_every_time(data: Path) -> None:
    files = (survey(data), survey(data))
    total = 2 * files[0].text_bytes
    sample = Sample(files, max_bytes=total // 4)
    texts = sample.texts
    assert Sample(files, max_bytes=total // 4).texts == texts
    size = sum(len(text.encode("utf-8")) for text in texts)
    assert total / 6 < size < total / 3
    numbers = [int(text.rsplit(" ", 1)[1]) for text in texts]
    odd = sum(number % 2 for number in numbers) / len(numbers)
    assert 0.3 < odd < 0.7, "both languages are there, although they take turns"
    assert max(numbers) > 270, "and the file's end too"
    assert Sample(files, total).texts == 2 * Sample(files[:1], total).texts


def test_sampling_is_said_and_counted(data: Path, tmp_path: Path) -> None:
    directory = tmp_path / "tokenizer"
    result = run("train", *flags(data, directory, 300), "--max_bytes", 8_000)
    assert result.returncode == 0, result.stderr
    assert "--max_bytes 8,000" in result.stdout
    summary = json.loads((directory / "training_summary.json").read_text(encoding="utf-8"))
    assert 4_000 < summary["bytes_used"] < 12_000
    assert summary["records_used"] < 300


def test_the_split_is_that_of_qwen2() -> None:
    tokenizer = train_bpe(["x"], 259)
    pieces = [
        piece for piece, _ in tokenizer.pre_tokenizer.pre_tokenize_str("It's 2024,\n\n  ok  !")
    ]
    assert pieces == ["It", "'s", "Ġ", "2", "0", "2", "4", ",ĊĊ", "Ġ", "Ġok", "Ġ", "Ġ!"]
    found = json.loads(tokenizer.to_str())["pre_tokenizer"]["pretokenizers"][0]["pattern"]["Regex"]
    # https://huggingface.co/Qwen/Qwen2-0.5B/blob/main/tokenizer.json
    assert found == QWEN2_PATTERN
    assert found == (
        r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
        r"|\s*[\r\n]+|\s+(?!\S)|\s+"
    )


def test_a_control_token_in_the_training_text_is_learned_as_text() -> None:
    tokenizer = EtudeTokenizer(train_bpe(["a <|im_end|> b <|endoftext|>"] * 50, 300))
    assert min(tokenizer.encode("<|im_end|>")) > 2


def test_an_error_while_reading_reaches_the_user() -> None:
    def texts() -> Sequence[str]:
        raise UserError("data.jsonl:3: broken")

    with pytest.raises(UserError, match=r"data\.jsonl:3: broken"):
        train_bpe((text for _ in range(1) for text in texts()), 300)


def test_tokens_are_counted_by_script() -> None:
    tokenizer = EtudeTokenizer(train_bpe(["ab"], 259))
    *scripts, unused = report(tokenizer, ["abcd", "中文", "efg", "12"])
    assert scripts == [
        "han: 1.00 bytes per token (1 records, 6 bytes, 6 tokens)",
        "latin: 1.00 bytes per token (2 records, 7 bytes, 7 tokens)",
        "other: 1.00 bytes per token (1 records, 2 bytes, 2 tokens)",
    ]
    # Used are 7 letters, 6 bytes of two characters, 2 digits; there are 256 bytes.
    assert unused.startswith("241 of 259 tokens")


def saved(directory: Path, change: Callable[[str], str]) -> tuple[Path, EtudeTokenizer]:
    """A good tokenizer's directory whose tokenizer.json was changed before it was sealed."""
    good = EtudeTokenizer(train_bpe(["hello world 你好"] * 3, 265))
    write_directory(
        directory,
        {
            "tokenizer.json": text_writer(change(tokenizer_json(good))),
            "tokenizer_config.json": text_writer(tokenizer_config(128, IM_END)),
        },
    )
    return directory, EtudeTokenizer.load(directory)


def with_part(name: str, value: object) -> Callable[[str], str]:
    return lambda text: json.dumps(json.loads(text) | {name: value})


@pytest.mark.full
def test_a_good_tokenizer_has_no_problem(tmp_path: Path) -> None:
    assert find_problems(*saved(tmp_path / "tokenizer", lambda text: text)) == []


NFC = with_part("normalizer", {"type": "NFC"})
GPT2_SPLIT = with_part(
    "pre_tokenizer",
    {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True},
)


def swap_turn_marks(text: str) -> str:
    for old, new in (("_start|>", "_x|>"), ("_end|>", "_start|>"), ("_x|>", "_end|>")):
        text = text.replace(old, new)
    return text


@pytest.mark.parametrize(
    ("change", "check", "problem"),
    [
        (NFC, lost_texts, "comes back as"),
        (NFC, wrong_parts, "its normalizer is"),
        (GPT2_SPLIT, wrong_parts, "its pre_tokenizer is"),
        (swap_turn_marks, wrong_ids, "<|im_start|> has the id 2, not 1"),
    ],
)
def test_a_wrong_tokenizer_fails_the_proof(
    tmp_path: Path,
    change: Callable[[str], str],
    check: Callable[[EtudeTokenizer], Iterator[str]],
    problem: str,
) -> None:
    _, tokenizer = saved(tmp_path / "tokenizer", change)
    assert problem in next(check(tokenizer))


def test_a_control_token_from_text_fails_the_proof() -> None:
    tokenizer = EtudeTokenizer(train_bpe(["hello"], 259))
    tokenizer.backend.encode_special_tokens = False  # as transformers has it by default
    tokenizer.encoder = tokenizer.backend
    assert "gives a control token" in next(forged_tokens(tokenizer))


def test_another_template_fails_the_proof(tmp_path: Path) -> None:
    directory, tokenizer = saved(tmp_path / "tokenizer", lambda text: text)
    path = directory / "tokenizer_config.json"
    changed = path.read_text(encoding="utf-8").replace(" | trim", "")
    other_end = changed.replace('"eos_token": "<|im_end|>"', '"eos_token": "<|endoftext|>"')
    path.write_text(other_end, "utf-8")
    problems = "\n".join(disagreements(directory, tokenizer))
    assert "the special ids" in problems
    assert "the template's ids differ" in problems


def random_word(count: int) -> str:
    return "".join(random.Random(1).choices("abcdefghijklmnopqrstuvwxyz", k=count))


def test_a_word_without_end_is_learnt_in_pieces_and_encoded_whole() -> None:
    text = random_word(LONGEST_WORD * 3 + 5)
    pieces = [text[n : n + LONGEST_WORD] for n in range(0, len(text), LONGEST_WORD)]
    learnt, expected = train_bpe([text, "a b"], 400), train_bpe([*pieces, "a b"], 400)
    assert learnt.get_vocab() == expected.get_vocab()
    assert learnt.to_str() == expected.to_str()  # its own pre-tokenizer has no third split
    assert learnt.decode(learnt.encode(text).ids) == text


@pytest.mark.parametrize("unit", ["a", "狐", "=", "\n", "\u3000", "ก", "👩", "_", "\u0301"])
def test_every_kind_of_long_word_is_counted(unit: str) -> None:
    assert count_long_words([unit * LONGEST_WORD, "a b " * 1_000, "12" * 1_000]) == 0
    assert count_long_words([f"a 1{unit * (LONGEST_WORD + 9)}1 b", "short"]) == 1


def test_a_long_word_costs_seconds_and_ctrl_c_ends_them_at_once(tmp_path: Path) -> None:
    lines = [json.dumps({"text": text}) for text in ("the fox " * 9, random_word(4_000_000))]
    (tmp_path / "data.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    flags = ["--vocab_size=20000", "--pretrain_files=data.jsonl", "--tokenizer_dir=out"]
    script = str(ROOT / "train" / "train_tokenizer.py")
    process = subprocess.Popen(
        [sys.executable, "-u", script, "train", *flags],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
    )
    assert process.stdout is not None
    seen = next(line for line in process.stdout if "words of more than" in line)
    assert seen.startswith("1 words of more than 256 characters")
    time.sleep(1.0)  # it is learning now
    began = time.monotonic()
    process.send_signal(signal.SIGINT)
    assert process.wait(10) == 130
    assert time.monotonic() - began < 2
    assert not (tmp_path / "out").exists()
