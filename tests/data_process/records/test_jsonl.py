"""Every kind of bad data file is one sentence with file:line and what to do."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from config import UserError
from data_process.records.jsonl import (
    BadRecord,
    read_conversations,
    read_records,
    read_texts,
)
from data_process.records.opening import is_pipe
from model.conversation import Conversation

GOOD = '{"text": "one"}\n'
MESSAGES: list[Any] = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]


def refusal(read: Callable[[Path], Any], path: Path) -> str:
    """The sentence with which a file is refused, once the reader is at its end."""
    with pytest.raises(UserError) as told:
        list(read(path))
    sentence = str(told.value)
    assert "\n" not in sentence
    assert sentence.startswith(str(path))
    return sentence.removeprefix(str(path))


def file_of(tmp_path: Path, content: str | bytes) -> Path:
    path = tmp_path / "data.jsonl"
    path.write_bytes(content.encode("utf-8") if isinstance(content, str) else content)
    return path


def conversation_file(tmp_path: Path, conversations: object) -> Path:
    """A file with a good conversation in line 1 and the given one in line 2."""
    lines = [json.dumps({"conversations": c}) for c in (MESSAGES, conversations)]
    return file_of(tmp_path, "\n".join(lines) + "\n")


def test_records_come_with_their_line_numbers_and_blank_lines_are_passed_over(
    tmp_path: Path,
) -> None:
    path = file_of(
        tmp_path, '{"text": "one"}\n\n   \n{"text": "两\\n行"}\r\n{"text": "no line end"}'
    )
    assert list(read_texts(path)) == [(1, "one"), (4, "两\n行"), (5, "no line end")]


def test_a_byte_order_mark_is_accepted(tmp_path: Path) -> None:
    path = file_of(tmp_path, b"\xef\xbb\xbf" + GOOD.encode())
    assert list(read_texts(path)) == [(1, "one")]


def test_odd_line_breaks_inside_a_text_do_not_end_the_line(tmp_path: Path) -> None:
    path = file_of(tmp_path, '{"text": "a\u2028b\u0085c"}\n')
    assert list(read_texts(path)) == [(1, "a\u2028b\u0085c")]


def test_a_pair_of_surrogates_is_one_character(tmp_path: Path) -> None:
    path = file_of(tmp_path, '{"text": "\\ud83e\\udd8a"}\n')
    assert list(read_texts(path)) == [(1, "🦊")]


def test_a_missing_file_names_the_sample(tmp_path: Path) -> None:
    assert re.match(
        r": there is no such file; .*make_sample\.py", refusal(read_texts, tmp_path / "none.jsonl")
    )


def test_a_directory_is_no_file(tmp_path: Path) -> None:
    assert ": is a directory, not a file; " in refusal(read_texts, tmp_path)


@pytest.mark.parametrize("content", ["", "\n", "  \n\t\r\n", b"\xef\xbb\xbf", b"\xef\xbb\xbf\n"])
def test_an_empty_file_is_refused(tmp_path: Path, content: str | bytes) -> None:
    assert refusal(read_texts, file_of(tmp_path, content)).startswith(
        ": the file is empty; it needs"
    )


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (GOOD.encode() + b'{"text": "a\0b"}\n', r":2: a NUL byte; the file is binary or damaged"),
        (b"\x7fELF\x02\x01\x01\0\0\n", r":1: the file is a program"),
        (b"\x1f\x8b\x08\0\0", r":1: here the gzip data is cut or damaged"),
        (b"BZh91AY&SY", r":1: here the bzip2 data is cut or damaged"),
        (b"\xfd7zXZ\0\0\x04", r":1: here the xz data is cut or damaged"),
        (b"\x28\xb5\x2f\xfd\x04", r":1: here the zstd data is cut or damaged"),
        (b"PK\x03\x04\x14\0", r":1: the file is a ZIP archive"),
        (b"%PDF-1.7\n", r":1: the file is a PDF"),
        (b"version https://git-lfs.github.com/spec/v1\n", r":1: the file is a pointer of Git LFS"),
        (b"<!DOCTYPE html>\n<html>", r":1: the file is a web page"),
        (b"<mediawiki xml:lang='en'>\n", r":1: the file is a dump of a wiki"),
        (b"PAR1" + bytes(40), r":1: a damaged table"),
        (
            GOOD.encode() + '{"text": "é"}\n'.encode("latin-1"),
            r":2: not UTF-8 \(byte 11 of the line\); save the file as UTF-8",
        ),
        (b'{"text": "\xe4\xb8', r":1: not UTF-8"),
    ],
)
def test_a_file_that_is_not_utf8_text_is_refused(
    tmp_path: Path, content: bytes, sentence: str
) -> None:
    assert re.match(sentence, refusal(read_texts, file_of(tmp_path, content)))


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("{'text': 'one'}\n", r":2: not valid JSON .*; mend or remove it"),
        ('{"text": "one"} {"text": "two"}\n', r":2: not valid JSON .*Extra data"),
        ('{"text": "one"},\n', r":2: not valid JSON .*a comma stands behind the object"),
        ('{"text": "one"}{"text": "two"}\n', r":2: .*a second object, which needs a line"),
        ("{'text': 'one'}\n", r":2: .*single quotes, as Python prints"),
        ("one\n", r":2: not valid JSON"),
        (
            '{"text": "a cut li',
            r":2: not valid JSON .*; the line has no end, so the file may be cut",
        ),
        ("[" * 100_000 + "\n", r":2: not valid JSON"),
        ('{"n": ' + "9" * 5000 + "}\n", r":2: not valid JSON"),
        ('{"txt": "one"}\n', r""":2: found the keys \['txt'\]; a line must be {"text": "..."}"""),
        ('["one"]\n', r":2: found list; a line must be"),
        ('"one"\n', r":2: found str; a line must be"),
        ("null\n", r":2: found NoneType; a line must be"),
        ('{"text": 1}\n', r':2: "text" is a int; it must be a non-empty string'),
        ('{"text": null}\n', r':2: "text" is null; it must be'),
        ('{"text": ""}\n', r':2: "text" is empty; it must be a non-empty string'),
        ('{"text": " \\n\\u3000"}\n', r':2: "text" is empty'),
        ('{"text": "\\ud83e"}\n', r":2: half a surrogate pair .*; mend or remove it"),
    ],
)
def test_a_bad_line_is_named(tmp_path: Path, line: str, sentence: str) -> None:
    assert re.match(sentence, refusal(read_texts, file_of(tmp_path, GOOD + line)))


def test_a_sentence_about_a_huge_record_stays_short(tmp_path: Path) -> None:
    record = json.dumps({f"key {n}": n for n in range(10_000)})
    assert len(refusal(read_texts, file_of(tmp_path, record + "\n"))) < 500


def test_good_conversations_are_read(tmp_path: Path) -> None:
    system: list[Any] = [{"role": "system", "content": "Be kind."}, *MESSAGES]
    path = conversation_file(tmp_path, system)
    assert list(read_conversations(path)) == [
        (1, Conversation(MESSAGES)),
        (2, Conversation(system)),
    ]


@pytest.mark.parametrize(
    ("conversations", "sentence"),
    [
        ([], r":2: a conversation must be a non-empty list of messages"),
        ("Hi", r":2: a conversation must be a non-empty list of messages"),
        (["Hi"], r":2: message 1 must be an object with role and content, not str"),
        ([{"role": "human", "content": "Hi"}], r":2: message 1 has the role 'human': use system,"),
        ([{"role": "user"}], r":2: message 1 needs a content that is text, not NoneType"),
        ([{"role": "user", "content": ["Hi"]}], r":2: message 1 needs a content that is text"),
        ([{"role": "user", "content": " "}], r":2: message 1 has an empty content"),
        (MESSAGES[1:], r":2: message 1 has the role assistant, but user is due: .*alternate"),
        (MESSAGES[:1] * 2, r":2: message 2 has the role user, but assistant is due"),
        (MESSAGES[:1], r":2: no assistant's turn, so nothing to learn; add one"),
        (
            [MESSAGES[0], {"role": "assistant", "content": "\ud83e"}],
            r":2: half a surrogate pair",
        ),
    ],
)
def test_a_bad_conversation_is_named(tmp_path: Path, conversations: object, sentence: str) -> None:
    path = conversation_file(tmp_path, conversations)
    assert re.match(sentence, refusal(read_conversations, path))


def test_a_file_of_texts_is_no_file_of_conversations(tmp_path: Path) -> None:
    sentence = refusal(read_conversations, file_of(tmp_path, GOOD))
    assert re.match(
        r""":1: found the keys \['text'\]; a line must be {"conversations": """, sentence
    )


def test_a_file_is_streamed(tmp_path: Path) -> None:
    path = file_of(tmp_path, GOOD + "broken\n")
    records = read_texts(path)
    assert next(records) == (1, "one")
    with pytest.raises(UserError):
        next(records)


def test_a_file_we_may_not_read_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = file_of(tmp_path, GOOD)

    def denied(*args: object, **kwargs: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", denied)
    assert re.match(r": cannot be read \(Permission denied\); ", refusal(read_texts, path))


def test_places_are_right_behind_a_line_that_was_skipped_for_its_length(tmp_path: Path) -> None:
    path = file_of(tmp_path, GOOD + '{"text": "' + 500 * "a" + '"}\n' + GOOD)
    bad: list[BadRecord] = []
    records = list(read_records(path, on_bad=bad.append, longest=100))
    content = path.read_bytes()
    assert [content[r.begin : r.begin + len(r.raw)] for r in records] == [GOOD.encode()] * 2
    assert [record.line for record in records] == [1, 3]
    assert [str(mistake).partition(" ")[0] for mistake in bad] == [f"{path}:2:"]


def test_what_other_processes_cannot_read_is_a_pipe(tmp_path: Path) -> None:
    """A file that a shell puts in place of standard input is another one in each process."""
    path = tmp_path / "some.jsonl"
    path.touch()
    assert all(map(is_pipe, (Path("-"), Path("/dev/stdin"), Path("/dev/fd/63"))))
    assert not any(map(is_pipe, (path, tmp_path, tmp_path / "missing", Path("/dev/shm/a.jsonl"))))
