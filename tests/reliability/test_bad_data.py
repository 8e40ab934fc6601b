"""R9: bad data is named. Whatever is wrong with a file of records, every reader stops at it with
file:line: reason and leaves nothing behind, `check` lists exactly the bad lines, and with
--bad_records skip exactly these are missing, and are counted."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import random
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from config import ROOT, PathConfig
from data_process.records.jsonl import read_conversations, read_texts
from tests.data_process.jsonl_command import SCRIPT, Ran, chat, run
from tests.reliability.trials import Trials

pytestmark = pytest.mark.promise("R9")

LONGEST = 4_000
"""Bytes of a line, by --max_line_bytes."""
LIMIT_MB = 200
Draw = random.Random
BadLine = Callable[[Draw], bytes]
"""A line that is bad, without its end."""
BadFile = Callable[[bytes, Draw], bytes]
"""What a good file's content becomes."""


def word(draw: Draw) -> str:
    return "".join(draw.choices("abcé世界🦊 ", k=draw.randrange(1, 30)))


def text_line(draw: Draw) -> bytes:
    return json.dumps({"text": "t" + word(draw)}, ensure_ascii=False).encode("utf-8")


def chat_line(draw: Draw) -> bytes:
    contents = ["c" + word(draw) for _ in range(2 * draw.randrange(1, 4))]
    return json.dumps(chat(*contents), ensure_ascii=False).encode("utf-8")


def broken_json(draw: Draw) -> bytes:
    good = text_line(draw)
    return good[: draw.randrange(1, len(good))]


def single_quotes(draw: Draw) -> bytes:
    return f"{{'text': '{word(draw)}'}}".encode()


def trailing_comma(draw: Draw) -> bytes:
    return text_line(draw)[:-1] + b",}"


def two_in_a_line(draw: Draw) -> bytes:
    return text_line(draw) + b" " + text_line(draw)


def no_json(draw: Draw) -> bytes:
    return ("x" + word(draw)).encode("utf-8")


def a_list(draw: Draw) -> bytes:
    return b"[" + text_line(draw) + b"]"


def a_bare_value(draw: Draw) -> bytes:
    return draw.choice([b'"text"', b"null", b"7", b"true"])


def nul_byte(draw: Draw) -> bytes:
    good = text_line(draw)
    place = draw.randrange(2, len(good))  # among the first bytes it would be UTF-16
    return good[:place] + b"\0" + good[place:]


def not_utf_8(draw: Draw) -> bytes:
    return b'{"text": "caf\xe9 ' + word(draw).encode("utf-8") + b'"}'


def control_character(draw: Draw) -> bytes:
    return f'{{"text": "a{chr(draw.randrange(1, 9))}b"}}'.encode()


def not_a_number(draw: Draw) -> bytes:
    value = draw.choice(["NaN", "Infinity", "-Infinity", "1e999", "-1e400"])
    return f'{{"text": "a", "score": {value}}}'.encode()


def huge_integer(draw: Draw) -> bytes:
    if not hasattr(sys, "get_int_max_str_digits"):  # a Python that reads any
        return not_a_number(draw)
    return b'{"text": "a", "n": ' + b"9" * draw.randrange(4301, 4400) + b"}"


def key_twice(draw: Draw) -> bytes:
    return b'{"text": "a", "meta": {"b": 1, "b": 2}, "c": [' + text_line(draw) + b"]}"


def lone_surrogate(draw: Draw) -> bytes:
    half = draw.choice(["\\ud83e", "\\uDC00", "\\udfff\\ud800"])
    return f'{{"text": "a{half}b"}}'.encode()


def deep_nesting(draw: Draw) -> bytes:
    depth = draw.randrange(50_000, 100_000)
    opening, closing = draw.choice([(b"[", b"]"), (b'{"a":', b"}")])
    return b'{"text": "a", "b": ' + opening * depth + b"1" + closing * depth + b"}"


def line_too_long(draw: Draw) -> bytes:
    return b'{"text": "' + b"a" * (LONGEST + draw.randrange(LONGEST)) + b'"}'


def byte_order_mark_inside(draw: Draw) -> bytes:
    return b"\xef\xbb\xbf" * 2 + text_line(draw)  # one may stand at the begin of a file


def random_bytes(draw: Draw) -> bytes:
    return b"\xff" + draw.randbytes(40).replace(b"\n", b"\xff")


ANY_READER = (
    broken_json,
    single_quotes,
    trailing_comma,
    two_in_a_line,
    no_json,
    a_list,
    a_bare_value,
    nul_byte,
    not_utf_8,
    control_character,
    not_a_number,
    huge_integer,
    key_twice,
    lone_surrogate,
    deep_nesting,
    line_too_long,
    byte_order_mark_inside,
    random_bytes,
)
"""Bad for every command and for training."""


def missing_key(draw: Draw) -> bytes:
    return draw.choice([b"{}", b'{"txt": "a"}', b'{"Text": "a"}', b'{"id": 3}'])


def wrong_type(draw: Draw) -> bytes:
    return draw.choice([b'{"text": 1}', b'{"text": null}', b'{"text": ["a"]}', b'{"text": {}}'])


def empty_text(draw: Draw) -> bytes:
    return draw.choice([b'{"text": ""}', b'{"text": " \\n\\u3000"}'])


TEXT_READER = (missing_key, wrong_type, empty_text)


def no_list(draw: Draw) -> bytes:
    return draw.choice([b'{"conversations": "Hi"}', b'{"conversations": []}', b'{"text": "a"}'])


def wrong_role(draw: Draw) -> bytes:
    role = draw.choice(["human", "", None, 3, "User", ["user"]])
    return json.dumps({"conversations": [{"role": role, "content": "a"}]}).encode()


def wrong_order(draw: Draw) -> bytes:
    roles = draw.choice([["assistant"], ["user", "user"], ["user", "system"], ["user"]])
    turns = [{"role": role, "content": "a"} for role in roles]
    return json.dumps({"conversations": turns}).encode()


def wrong_content(draw: Draw) -> bytes:
    turns = chat("a", "b")["conversations"]
    turns[draw.randrange(2)]["content"] = draw.choice(["", " \n", None, 3, ["a"]])
    return json.dumps({"conversations": turns}).encode()


CHAT_READER = (no_list, wrong_role, wrong_order, wrong_content)


def cut_packed(content: bytes, draw: Draw) -> bytes:
    kinds = [gzip.compress(content), bz2.compress(content), lzma.compress(content)]
    packed = draw.choice(kinds)
    return packed[: -draw.randrange(9, len(packed) // 2)]


def zip_file(content: bytes, draw: Draw) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("data.jsonl", content)
    return file.getvalue()


def tar_file(content: bytes, draw: Draw) -> bytes:
    return tarfile.TarInfo("data.jsonl").tobuf() + bytes(1024)


def gzip_bomb(content: bytes, draw: Draw) -> bytes:
    return gzip.compress(bytes(1 << 22)) * 256  # a gigabyte


def parquet(content: bytes, draw: Draw) -> bytes:
    return b"PAR1" + draw.randbytes(300) + b"PAR1"


def picture(content: bytes, draw: Draw) -> bytes:
    return b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + draw.randbytes(300)


def program(content: bytes, draw: Draw) -> bytes:
    return b"\x7fELF\x02\x01\x01" + bytes(9) + draw.randbytes(300)


def nothing(content: bytes, draw: Draw) -> bytes:
    return draw.choice([b"", b"\n\n", b" \t\r\n", b"\xef\xbb\xbf", "\u3000\n".encode()])


WHOLE_FILES = (cut_packed, zip_file, gzip_bomb, parquet, nothing)
"""Refused as a whole; skipping lines does not help."""
BINARIES = (tar_file, picture, program)
"""Seen by their lines."""


@dataclass(frozen=True)
class Case:
    """A file with bad lines among good ones."""

    content: bytes
    bad: list[int]
    """Numbers of the bad lines."""
    good: list[bytes]
    """The good lines, as they are written again."""


def case_of(kind: BadLine, good_line: BadLine, draw: Draw) -> Case:
    """Some good lines and one to three bad ones; line ends, blank lines and a byte order mark that
    change nothing."""
    total = draw.randrange(3, 30)
    bad = sorted(draw.sample(range(total), draw.randrange(1, 4)))
    content, numbers, good, number = b"", [], [], 0
    for position in range(total):
        number += 1
        while draw.random() < 0.1:
            content += draw.choice([b"\n", b"  \r\n", b"\t\n"])
            number += 1
        line = kind(draw) if position in bad else good_line(draw)
        if position in bad:
            numbers.append(number)
        else:
            good.append(line + b"\n")
        last = position == total - 1
        content += line + (b"" if last and draw.random() < 0.3 else draw.choice([b"\n", b"\r\n"]))
    if draw.random() < 0.2 and not content.startswith(b"\xef\xbb\xbf"):
        content = b"\xef\xbb\xbf" + content
    return Case(content, numbers, good)


COMMANDS = (
    ["filter", "--min_characters", 0, "--min_turns", 0, "--without_keys", "none"],
    ["sample", "--share", 1],
    ["sample", "--records", 1000],
    ["shuffle"],
    ["merge"],
    ["cut", "--records", 1000],
    ["convert", "--from", "conversations"],
    ["convert", "--from", "text"],
)


@pytest.fixture(autouse=True)
def cache(memory_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Work directories stay among the files of the tests."""
    monkeypatch.setattr(PathConfig, "cache_dir", memory_path / "cache")


def checked_lines(path: Path, kind: str) -> tuple[Ran, list[int]]:
    """What `check` says, and the numbers of the lines that it names."""
    flags = ["--kind", kind, "--max_line_bytes", LONGEST, "--workers", 1]
    ran = run("check", path, *flags)
    named = [line for line in ran.out.splitlines() if line.startswith(f"{path}:")]
    numbers = [line.removeprefix(f"{path}:").split(":")[0] for line in named]
    return ran, sorted({int(number) for number in numbers if number.isdigit()})


def names_the_line(message: str, path: Path, number: int) -> bool:
    """Whether a message is file:line: reason, in one sentence."""
    begin = f"{path}:{number}: "
    return message.startswith(begin) and len(message) > len(begin) + 10 and "\n" not in message


def is_one_refusal(ran: Ran, path: Path, number: int) -> bool:
    """Whether a command ended with one sentence about a line, and code 2."""
    sentence = ran.err.removeprefix("error: ").removesuffix("\n")
    return ran.code == 2 and names_the_line(sentence, path, number)


def training_refuses(path: Path, kind: str, number: int) -> bool:
    """Whether what training reads with names the line."""
    try:
        list((read_texts if kind == "text" else read_conversations)(path))
    except Exception as error:
        return names_the_line(str(error), path, number)
    return False


def test_a_bad_line_stops_every_reader_and_is_skipped_by_count(
    trials: Trials, memory_path: Path
) -> None:
    path, output = memory_path / "data.jsonl", memory_path / "out.jsonl"
    for number, (seed, draw) in enumerate(trials.draws(trials.size(ci=54, release=700))):
        bad_line = ANY_READER[number % len(ANY_READER)]
        kind, good_line = draw.choice([("text", text_line), ("conversations", chat_line)])
        case = case_of(bad_line, good_line, draw)
        path.write_bytes(case.content)
        name, *own = draw.choice(COMMANDS[:-2] if kind == "text" else COMMANDS[:-1])
        command = [name, path, *own]
        flags = ["--output", output, "--max_line_bytes", LONGEST]
        flags += ["--workers", 1] if name in ("filter", "convert") else []
        ran, named = checked_lines(path, kind)
        stopped = run(*command, *flags)
        left = output.exists()
        skipped = run(*command, *flags, "--bad_records", "skip")
        written = output.read_bytes().splitlines(keepends=True) if output.exists() else []
        exact = sorted(written) == sorted(case.good)
        counted = skipped.count("dropped: bad record") == len(case.bad)
        trained = bad_line in (line_too_long,) or training_refuses(path, kind, case.bad[0])
        passed = ran.code == 1 and named == case.bad
        passed = passed and is_one_refusal(stopped, path, case.bad[0]) and not left and trained
        ended_right = skipped.code == (0 if case.good else 2)
        passed = passed and ended_right and exact and counted
        trials.record(
            seed,
            passed,
            kind=bad_line.__name__.replace("_", " "),
            command=name,
            named=[named, case.bad],
            said=stopped.err[-120:],
            skipped=[exact, counted, skipped.code],
        )
        output.unlink(missing_ok=True)
    trials.verdict()


def test_a_record_of_a_wrong_kind_is_named_by_check_and_by_training(
    trials: Trials, memory_path: Path
) -> None:
    path = memory_path / "data.jsonl"
    kinds = [("text", text_line, bad) for bad in TEXT_READER]
    kinds += [("conversations", chat_line, bad) for bad in CHAT_READER]
    for number, (seed, draw) in enumerate(trials.draws(trials.size(ci=28, release=200))):
        kind, good_line, bad_line = kinds[number % len(kinds)]
        case = case_of(bad_line, good_line, draw)
        path.write_bytes(case.content)
        ran, named = checked_lines(path, kind)
        trained = training_refuses(path, kind, case.bad[0])
        counted = ran.count("bad records") == len(case.bad)
        passed = ran.code == 1 and named == case.bad and trained and counted
        name = bad_line.__name__.replace("_", " ")
        trials.record(seed, passed, kind=name, named=[named, case.bad], trained=trained)
    trials.verdict()


def test_a_file_that_is_no_jsonl_is_refused_as_a_whole(trials: Trials, memory_path: Path) -> None:
    path, output = memory_path / "data.jsonl", memory_path / "out.jsonl"
    for number, (seed, draw) in enumerate(trials.draws(trials.size(ci=16, release=100))):
        kind = (*WHOLE_FILES, *BINARIES)[number % (len(WHOLE_FILES) + len(BINARIES))]
        content = b"".join(text_line(draw) + b"\n" for _ in range(5))
        path.write_bytes(kind(content, draw))
        name, *own = draw.choice(COMMANDS[:-2])
        command = [name, path, *own]
        flags = ["--output", output, *(["--workers", 1] if name == "filter" else [])]
        ran, _ = checked_lines(path, "text")
        stopped = run(*command, *flags)
        skipped = run(*command, *flags, "--bad_records", "skip")
        said = stopped.err.removeprefix("error: ").rstrip("\n")
        passed = ran.code == 1 and f"{path}:" in ran.out
        passed = passed and stopped.code == 2 and said.startswith(f"{path}:") and "\n" not in said
        passed = passed and (kind in BINARIES or skipped.code == 2)
        passed = passed and (not output.exists() or output.read_bytes() == b"")
        what = kind.__name__.replace("_", " ")
        trials.record(seed, passed, kind=what, command=name, said=said[-120:])
        output.unlink(missing_ok=True)
    trials.verdict()


def test_a_folder_or_a_missing_file_is_named(trials: Trials, memory_path: Path) -> None:
    folder = memory_path / "folder"
    folder.mkdir()
    for path in (folder, memory_path / "none.jsonl", memory_path / "dangling.jsonl"):
        if path.name.startswith("dangling"):
            path.symlink_to(memory_path / "nowhere")
        for name, *own in (*COMMANDS[:-2], ["check"], ["stats"], ["head"]):
            output = ["--output", memory_path / "out.jsonl"] if name == "shuffle" else []
            ran = run(name, path, *own, *output)
            said = ran.err.removeprefix("error: ").rstrip("\n")
            passed = ran.code == 2 and said.startswith(f"{path}: ") and "\n" not in said
            trials.record("-", passed, kind=path.name, command=name, said=said[:120])
    trials.verdict()


@pytest.mark.skipif(sys.platform != "linux", reason="needs the memory of one process")
def test_a_line_of_100_mb_is_refused_or_skipped_in_bounded_memory(
    trials: Trials, memory_path: Path
) -> None:
    path, output = memory_path / "data.jsonl", memory_path / "out.jsonl"
    with path.open("wb") as file:
        file.write(b'{"text": "good"}\n{"text": "')
        for _ in range(100):
            file.write(b"a" * 1_000_000)
        file.write(b'"}\n{"text": "good too"}\n')
    skip = ["--output", str(output), "--bad_records", "skip"]
    for command, code, expected in (
        (["check", str(path), "--workers", "1"], 1, f"{path}:2: a line of more than 33,554,432"),
        (["merge", str(path), "--output", str(output)], 2, f"error: {path}:2: a line of more than"),
        (["shuffle", str(path), *skip], 0, "1  dropped: bad record"),
    ):
        code_found, said, peak_mb = measured(command)
        passed = code_found == code and expected in said and peak_mb < LIMIT_MB
        facts = {"command": command[0], "said": said[:200], "peak_mb": peak_mb}
        trials.record("-", passed, kind="line of 100 MB", **facts)
    assert sorted(output.read_bytes().splitlines()) == [
        b'{"text": "good too"}',
        b'{"text": "good"}',
    ]
    trials.verdict()


MEASURED = """
import runpy, sys
sys.argv = sys.argv[1:]
try:
    runpy.run_path(sys.argv[0], run_name="__main__")
finally:
    from tests.reliability.confined import peak_mb
    print(f"peak {peak_mb()}")
"""


def measured(command: list[str]) -> tuple[int, str, int]:
    """Exit code, output and largest memory in MB of the script in a process of its own."""
    result = subprocess.run(
        [sys.executable, "-c", MEASURED, str(SCRIPT), *command],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        cwd=ROOT,
        timeout=60,
    )
    said, _, peak = result.stdout.decode("utf-8").rpartition("peak ")
    return result.returncode, said, int(peak)
