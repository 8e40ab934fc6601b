"""Tokenising once: the same bytes however it went, nothing read twice, nobody left behind."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from config import ROOT, UserError
from data_process.records import parts as surveys
from data_process.records.jsonl import read_texts
from data_process.records.parts import KnownFiles, signature_of
from model.directory.storage import sha256_of
from model.tokenizer import EtudeTokenizer, tokenizer_json
from train.data import token_files, token_parts
from train.data.packing import concatenate
from train.data.token_files import TokenisedData, tokenised_data

SCRIPT = """
import sys
from pathlib import Path
from cli import run_script

def main():
    from model.tokenizer import EtudeTokenizer
    from train.data import token_files
    token_files.PART_BYTES = 4_000
    token_files.available_cores = lambda: 2
    tokenizer = EtudeTokenizer.load(Path("tokenizer"))
    files = [Path("a.jsonl"), Path("b.jsonl")]
    token_files.tokenised_data("pretrain", files, tokenizer, 7, Path(sys.argv[1]))

if __name__ == "__main__":
    run_script(main)
"""


@pytest.fixture
def folder(tmp_path: Path, tokenizer: EtudeTokenizer) -> Path:
    """Two files of texts in two languages, blank lines among them, a tokenizer and a script."""
    draw = random.Random(1)
    words = [
        "the",
        "fox",
        "sees",
        "狐狸",
        "a",
        "small",
        "小",
        "river",
        "河",
        "and",
        "月亮",
        "<|im_end|>",
        "12",
        ",",
        ".",
    ]
    for name, count in (("a.jsonl", 700), ("b.jsonl", 500)):
        lines = []
        for _ in range(count):
            text = " ".join(draw.choices(words, k=draw.randint(5, 60)))
            lines += [json.dumps({"text": text}, ensure_ascii=False)] + [" "] * (
                draw.random() < 0.1
            )
        (tmp_path / name).write_text("\n".join(lines) + "\n", encoding="utf-8")
    (tmp_path / "tokenizer").mkdir()
    path = tmp_path / "tokenizer" / "tokenizer.json"
    path.write_text(tokenizer_json(tokenizer), encoding="utf-8")
    (tmp_path / "build.py").write_text(SCRIPT, encoding="utf-8")
    return tmp_path


def tokenise(folder: Path, tokenizer: EtudeTokenizer, cache: str) -> TokenisedData:
    files = [folder / "a.jsonl", folder / "b.jsonl"]
    return tokenised_data("pretrain", files, tokenizer, 7, folder / cache)


def contents(cache: Path) -> dict[str, str]:
    """The sha256 of every file of the cache's entries; nothing else may lie there."""
    assert {path.name for path in cache.iterdir() if path.is_file()} <= {"known_files.json"}
    assert not [path for path in cache.iterdir() if path.suffix in (".parts", ".tmp")]
    return {
        str(path.relative_to(cache)): sha256_of(path)
        for path in sorted(cache.glob("*/*"))
        if path.is_file()
    }


def start(folder: Path, cache: str) -> subprocess.Popen[str]:
    """Begins to tokenise in a process of its own, with two workers and small parts."""
    return subprocess.Popen(
        [sys.executable, "build.py", cache],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        encoding="utf-8",
    )


def parts_of(cache: Path) -> list[Path]:
    return sorted(cache.glob("*.parts/part-[0-9][0-9][0-9][0-9][0-9]"))


def wait_for_parts(process: subprocess.Popen[str], cache: Path, count: int) -> None:
    while len(parts_of(cache)) < count and process.poll() is None:
        time.sleep(0.002)
    assert process.poll() is None


def children_of(process: subprocess.Popen[str]) -> list[int]:
    path = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    return [int(pid) for pid in path.read_text(encoding="ascii").split()]


def wait_until_gone(pids: list[int]) -> None:
    deadline = time.monotonic() + 10
    while any(is_running(pid) for pid in pids):
        assert time.monotonic() < deadline, f"still there: {pids}"
        time.sleep(0.01)


def is_running(pid: int) -> bool:
    try:
        status = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8")
    except OSError:
        return False
    return status.rpartition(")")[2].split()[0] != "Z"


def test_any_number_of_workers_and_any_size_of_parts_give_the_same_bytes(
    folder: Path, tokenizer: EtudeTokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    tokenise(folder, tokenizer, "whole")
    expected = contents(folder / "whole")
    assert len(expected) > 4
    monkeypatch.setattr(token_files, "PART_BYTES", 30_000)
    for workers in (1, 2):
        monkeypatch.setattr(token_files, "available_cores", lambda workers=workers: workers)
        tokenise(folder, tokenizer, f"workers-{workers}")
        assert contents(folder / f"workers-{workers}") == expected


def test_the_streams_hold_every_text_and_every_seventh_is_for_validation(
    folder: Path, tokenizer: EtudeTokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(token_files, "PART_BYTES", 5_000)
    monkeypatch.setattr(token_files, "available_cores", lambda: 1)
    data = tokenise(folder, tokenizer, "cache")
    texts = [t for name in ("a.jsonl", "b.jsonl") for _, t in read_texts(folder / name)]
    assert decoded(data, "train", tokenizer) == [t for n, t in enumerate(texts, 1) if n % 7]
    held_back = [t for name in data.validation for t in decoded(data, name, tokenizer)]
    assert sorted(held_back) == sorted(texts[6::7])


def decoded(data: TokenisedData, stream: str, tokenizer: EtudeTokenizer) -> list[str]:
    """The texts of a stream, found by its table and by its borders alike."""
    documents = data.train if stream == "train" else data.validation[stream]
    tokens = documents.tokens[:]
    borders = np.flatnonzero(tokens == tokenizer.end_of_text_id)
    assert borders.tolist() == [0, *(documents.table["begin"] + documents.table["length"])]
    spans = zip(borders[:-1] + 1, borders[1:], strict=True)
    return [tokenizer.decode(tokens[a:b].tolist(), skip_special_tokens=False) for a, b in spans]


@pytest.mark.full
@pytest.mark.skipif(sys.platform != "linux", reason="looks for processes in /proc")
def test_a_killed_build_leaves_no_process_and_goes_on_to_the_same_bytes(
    folder: Path, tokenizer: EtudeTokenizer
) -> None:
    tokenise(folder, tokenizer, "undisturbed")
    for count in (2, 12):
        process = start(folder, "cache")
        wait_for_parts(process, folder / "cache", count)
        children = children_of(process)
        process.kill()
        _, errors = process.communicate()
        assert errors == ""
        wait_until_gone(children)
    kept = parts_of(folder / "cache")
    made = [path.stat().st_mtime_ns for path in kept[:-1]]
    (kept[0] / "train.tokens.bin").write_bytes(b"damaged")
    process = start(folder, "cache")
    wait_for_parts(process, folder / "cache", len(kept) + 2)
    assert [path.stat().st_mtime_ns for path in kept[1:-1]] == made[1:]  # not made again
    assert process.wait() == 0
    assert contents(folder / "cache") == contents(folder / "undisturbed")


@pytest.mark.skipif(sys.platform != "linux", reason="looks for processes in /proc")
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, -15)])
def test_a_signal_ends_the_build_and_its_workers_without_a_traceback(
    folder: Path, number: signal.Signals, code: int
) -> None:
    process = start(folder, "cache")
    wait_for_parts(process, folder / "cache", 3)
    children = children_of(process)
    assert len(children) >= 2
    for pid in [process.pid, *children] if number == signal.SIGINT else [process.pid]:
        os.kill(pid, number)  # a terminal sends Ctrl-C to all of them
    _, errors = process.communicate()
    assert process.returncode == code
    assert "Traceback" not in errors
    assert "leaked" not in errors
    wait_until_gone(children)


@pytest.mark.skipif(sys.platform != "linux", reason="looks for processes in /proc")
def test_a_worker_that_is_killed_is_told_and_its_parts_are_kept(folder: Path) -> None:
    process = start(folder, "cache")
    wait_for_parts(process, folder / "cache", 3)
    for pid in children_of(process):
        os.kill(pid, signal.SIGKILL)
    _, errors = process.communicate()
    assert process.returncode == 2
    assert "code -9" in errors
    assert "Traceback" not in errors
    assert len(parts_of(folder / "cache")) >= 3


@pytest.mark.parametrize("workers", [1, 2])
def test_the_first_of_several_broken_lines_is_named_and_no_parts_are_left(
    folder: Path, tokenizer: EtudeTokenizer, monkeypatch: pytest.MonkeyPatch, workers: int
) -> None:
    monkeypatch.setattr(token_files, "PART_BYTES", 30_000)
    monkeypatch.setattr(token_files, "available_cores", lambda: workers)
    path = folder / "a.jsonl"
    lines = path.read_text(encoding="utf-8").splitlines()
    lines[650] = lines[500] = '{"text": ""}'
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    with pytest.raises(UserError, match=r'a\.jsonl:501: "text" is empty'):
        tokenise(folder, tokenizer, "cache")
    assert not list((folder / "cache").glob("pretrain-*"))


@pytest.fixture
def settled(folder: Path) -> Path:
    """The folder, its files last written to a minute ago."""
    for path in folder.glob("*.jsonl"):
        os.utime(path, (time.time() - 60, time.time() - 60))
    return folder


def test_a_second_start_reads_neither_the_data_nor_the_whole_cache(
    settled: Path, tokenizer: EtudeTokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = tokenise(settled, tokenizer, "cache")

    def refuse(*_: object) -> None:
        raise AssertionError("read again")

    monkeypatch.setattr(surveys, "read_through", refuse)
    monkeypatch.setattr(token_files, "verify", refuse)
    again = tokenise(settled, tokenizer, "cache")
    assert again.fingerprint == first.fingerprint
    assert again.train.tokens[:].tolist() == first.train.tokens[:].tolist()


def test_a_changed_file_of_the_same_size_and_time_is_noticed(
    settled: Path, tokenizer: EtudeTokenizer
) -> None:
    first = tokenise(settled, tokenizer, "cache")
    path = settled / "b.jsonl"
    times = path.stat()
    path.write_bytes(path.read_bytes().replace(b"river", b"RIVER"))
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert tokenise(settled, tokenizer, "cache").fingerprint != first.fingerprint


def test_a_memory_that_is_no_json_or_cannot_be_written_does_no_harm(
    settled: Path, tokenizer: EtudeTokenizer
) -> None:
    first = tokenise(settled, tokenizer, "cache")
    memory = settled / "cache" / "known_files.json"
    for damage in (b"\xff", b"[1]", b'{"a": 1'):
        memory.write_bytes(damage)
        assert tokenise(settled, tokenizer, "cache").fingerprint == first.fingerprint
    memory.unlink()
    memory.mkdir()
    assert tokenise(settled, tokenizer, "cache").fingerprint == first.fingerprint


def test_what_is_known_of_a_file_that_is_gone_is_forgotten(tmp_path: Path) -> None:
    old, new = tmp_path / "old", tmp_path / "new"
    known = KnownFiles(tmp_path / "known.json")
    for path in (old, new):
        path.write_bytes(b"content")
        known.remember(path, "kind", signature_of(path), 1)
        if path == old:
            path.unlink()
    again = KnownFiles(tmp_path / "known.json")
    assert again.recall(new, "kind") == 1
    assert again.recall(new, "other kind") is None
    assert len(again.entries) == 1


def test_rows_can_be_read_after_the_cache_was_deleted(
    folder: Path, tokenizer: EtudeTokenizer
) -> None:
    rows, _ = concatenate(tokenise(folder, tokenizer, "cache").train, 32, border=0)
    expected = rows.batch([0, 5]).input_ids.tolist()
    shutil.rmtree(folder / "cache", ignore_errors=True)
    assert rows.batch([0, 5]).input_ids.tolist() == expected


def test_a_file_that_becomes_shorter_in_use_is_told(
    folder: Path, tokenizer: EtudeTokenizer
) -> None:
    rows, _ = concatenate(tokenise(folder, tokenizer, "cache").train, 32, border=0)
    for path in (folder / "cache").glob("*/train.tokens.bin"):
        path.write_bytes(b"")
    with pytest.raises(UserError, match=r"tokens\.bin: it became shorter"):
        rows.batch([5])


@pytest.fixture
def short_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(token_parts, "PIECE_CHARACTERS", 40)


@pytest.mark.usefixtures("short_pieces")
def test_a_long_text_has_the_same_tokens_in_pieces(
    shared_data: Path, tokenizer: EtudeTokenizer
) -> None:
    draw = random.Random(1)
    texts = [text for _, text in read_texts(shared_data / "pretrain_en.jsonl")][:300]
    texts += [text for _, text in read_texts(shared_data / "pretrain_zh.jsonl")][:300]
    texts += ["".join(draw.choices("ab 1²é\u3000\n\r\t\x85.,!'s狐 ", k=400)) for _ in range(300)]
    pieces = [len(list(token_parts.pieces_of(text, 40))) for text in texts]
    assert np.mean(pieces) > 2
    expected = tokenizer.encode_batch(texts)
    ids = token_parts.encode_texts(tokenizer, texts, np.dtype(np.uint16))
    assert [found.tolist() for found in ids] == expected


def test_conversations_keep_where_their_answers_are(
    tmp_path: Path, tokenizer: EtudeTokenizer
) -> None:
    turns = [("user", "Hi"), ("assistant", " Hello 狐狸! "), ("user", "a"), ("assistant", "b")]
    line = json.dumps({"conversations": [{"role": r, "content": c} for r, c in turns]})
    (tmp_path / "chats.jsonl").write_text("\n".join([line] * 4), encoding="utf-8")
    data = tokenised_data("sft", [tmp_path / "chats.jsonl"], tokenizer, 2, tmp_path / "cache")
    assert list(data.validation) == ["han"]
    for documents in (data.train, data.validation["han"]):
        assert documents.mask is not None
        for document in documents.table.tolist():
            begin, length, num_bytes, first, trained = document
            mask = documents.mask[begin : begin + length]
            answers = documents.tokens[begin : begin + length][mask != 0].tolist()
            assert tokenizer.decode(answers) == "Hello 狐狸!b"
            assert (num_bytes, first, trained) == (14, mask.tolist().index(1), len(answers))


def conversations(path: Path, count: int, weight: int | None = None) -> Path:
    """A file of different conversations of two exchanges; the first answer may have a weight."""
    lines = []
    for number in range(count):
        contents = [f"question {number}", "first", "and?", f"second {number}"]
        messages = [
            {"role": role, "content": content}
            for role, content in zip(["user", "assistant"] * 2, contents, strict=True)
        ]
        if weight is not None:
            messages[1]["weight"] = weight  # type: ignore[assignment]
        lines.append(json.dumps({"conversations": messages}))
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def test_what_is_trained_of_a_conversation_is_part_of_the_caches_name(
    tmp_path: Path, tokenizer: EtudeTokenizer
) -> None:
    path, cache = conversations(tmp_path / "a.jsonl", 8), tmp_path / "cache"
    everything = tokenised_data("sft", [path], tokenizer, 4, cache)
    last = tokenised_data("sft", [path], tokenizer, 4, cache, train_on="last")
    assert everything.fingerprint != last.fingerprint
    both, one = (int(data.train.table["num_trained"].sum()) for data in (everything, last))
    assert one < both
    weighed = conversations(tmp_path / "b.jsonl", 8, weight=0)
    by_weight = tokenised_data("sft", [weighed], tokenizer, 4, cache)
    assert int(by_weight.train.table["num_trained"].sum()) == one
    bytes_of = [int(d.train.table["num_bytes"].sum()) for d in (everything, last, by_weight)]
    assert bytes_of == [bytes_of[1] + 6 * len("first"), bytes_of[1], bytes_of[1]]


def write_texts(path: Path, texts: list[str]) -> Path:
    lines = [json.dumps({"text": text}) for text in texts]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def held(data: TokenisedData) -> int:
    return sum(map(len, data.validation.values()))


def test_validation_files_are_measured_and_all_other_records_trained(
    tmp_path: Path, tokenizer: EtudeTokenizer
) -> None:
    train = write_texts(tmp_path / "train.jsonl", [f"number {n}" for n in range(12)])
    valid = write_texts(tmp_path / "valid.jsonl", ["one", "二", "three"])
    cache = tmp_path / "cache"
    data = tokenised_data("pretrain", [train], tokenizer, 4, cache, [valid])
    assert (len(data.train), held(data), set(data.validation)) == (12, 3, {"latin", "han"})
    assert tokenised_data("pretrain", [train], tokenizer, 4, cache).fingerprint != data.fingerprint
    none = tokenised_data("pretrain", [train], tokenizer, 0, cache)
    assert (len(none.train), held(none)) == (12, 0)
    few = write_texts(tmp_path / "few.jsonl", ["alone"])
    assert len(tokenised_data("pretrain", [few], tokenizer, 30, cache, [valid]).train) == 1


def test_too_few_records_for_validation_names_the_ways_out(
    tmp_path: Path, tokenizer: EtudeTokenizer
) -> None:
    path = write_texts(tmp_path / "one.jsonl", ["alone"])
    with pytest.raises(UserError, match=r"there is 1: add data.*0: none.*--validation_files"):
        tokenised_data("pretrain", [path], tokenizer, 30, tmp_path / "cache")


@pytest.mark.parametrize("as_validation", [False, True])
def test_a_file_given_twice_or_copied_is_refused_by_name(
    tmp_path: Path, tokenizer: EtudeTokenizer, as_validation: bool
) -> None:
    path = write_texts(tmp_path / "a.jsonl", [f"number {n}" for n in range(12)])
    copy = tmp_path / "copy.jsonl"
    copy.write_bytes(path.read_bytes())
    for other in (path, copy):
        files, measured = ([path], [other]) if as_validation else ([path, other], [])
        with pytest.raises(UserError, match=f"a.jsonl and .*{other.name} hold the same"):
            tokenised_data("pretrain", files, tokenizer, 4, tmp_path / "cache", measured)


def test_validation_records_that_are_trained_too_are_counted(
    tmp_path: Path, tokenizer: EtudeTokenizer
) -> None:
    texts = [f"number {n}" for n in range(40)]
    texts[3] = texts[20] = texts[7] = "the twin"  # 3 and 7 (from 0) are kept for validation
    path, cache = write_texts(tmp_path / "a.jsonl", texts), tmp_path / "cache"
    data = tokenised_data("pretrain", [path], tokenizer, 4, cache)
    assert data.twins == 2
    assert data.twins_sentence().startswith("2 of 10 validation records are also trained on")
    (entry,) = cache.glob("pretrain-*")
    facts = json.loads((entry / "streams.json").read_text(encoding="utf-8"))
    assert facts["twins"] == 2
    valid = write_texts(tmp_path / "valid.jsonl", ["number 5", "number 500", "the twin"])
    assert tokenised_data("pretrain", [path], tokenizer, 4, cache, [valid]).twins == 2
    clean = write_texts(tmp_path / "clean.jsonl", [f"word {n}" for n in range(40)])
    assert tokenised_data("pretrain", [clean], tokenizer, 4, cache).twins == 0
