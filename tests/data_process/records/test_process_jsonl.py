"""Each command does what it says, to the byte, from files and pipes, and harms nothing."""

from __future__ import annotations

import json
import random
import subprocess
import sys
import tracemalloc
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from config import ROOT, PathConfig, UserError
from data_process.records.checking import CheckConfig
from data_process.records.filtering import FilterStep, RecordFilter
from data_process.records.jsonl import Reading, Record, read_records
from data_process.records.parts import jsonl_parts
from data_process.records.selection import Index, parse_size
from data_process.records.stats import quantiles
from data_process.running.run import run_step
from data_process.running.work_dir import join_streams
from data_process.running.workers import Execution
from model.tokenizer import EtudeTokenizer
from tests.data_process.jsonl_command import SCRIPT, chat, read, run, texts, write
from train.tokenizer.bpe import save_tokenizer


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Work directories of the tests stay among their files."""
    monkeypatch.setattr(PathConfig, "cache_dir", tmp_path / "cache")


@pytest.fixture
def many(tmp_path: Path) -> Path:
    """A file of 500 different texts."""
    return write(tmp_path / "many.jsonl", texts(500))


def names_in(folder: Path) -> list[str]:
    """The files that lie in a folder."""
    return sorted(path.name for path in folder.iterdir() if path.name != "cache")


def test_check_names_every_error_and_ends_with_code_1(tmp_path: Path) -> None:
    path = tmp_path / "data.jsonl"
    lines = ['{"text": "good"}', "{broken", "", '{"text": ""}', '{"txt": "a"}', '{"text": "good"}']
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    ran = run("check", path)
    assert ran.code == 1
    errors = [line for line in ran.out.splitlines() if line.startswith(f"{path}:")]
    assert [e.removeprefix(str(path)).split(":")[1] for e in errors[:3]] == ["2", "4", "5"]
    assert (ran.count("documents in"), ran.count("bad records"), ran.count("out")) == (5, 3, 2)


def test_check_tells_all_that_is_wrong_with_one_conversation(tmp_path: Path) -> None:
    turns = [{"role": "user", "content": " "}, {"role": "user", "content": "b"}, {"role": "gpt"}]
    path = write(tmp_path / "chats.jsonl", [chat("a", "b"), {"conversations": turns}])
    ran = run("check", path)
    assert [line.split(": ", 1)[1] for line in ran.out.splitlines() if f"{path}:2" in line] == [
        "message 1 has an empty content",
        "message 2 has the role user, but assistant is due: user and assistant alternate",
        "message 3 has the role 'gpt': use system, user, assistant or tool",
    ]
    assert ran.count("bad records") == 1


def test_check_lists_no_more_than_it_is_asked_for_and_counts_all(tmp_path: Path) -> None:
    path = tmp_path / "data.jsonl"
    path.write_text('{"text": "good"}\n' + "bad\n" * 30, encoding="utf-8")
    ran = run("check", path, "--max_errors", 10)
    assert ran.out.count(f"{path}:") == 11  # ten errors, and what it was checked as
    assert "... and 20 more errors" in ran.out
    assert ran.count("bad records") == 30
    assert run("check", path, "--max_errors", 0).out.count(f"{path}:") == 31


def test_check_of_good_files_ends_well_and_leaves_nothing(tmp_path: Path) -> None:
    question: dict[str, object] = {"id": "1", "language": "en", "category": "a"}
    question |= {"accepted": [["b"]], "messages": [{"role": "user", "content": "Hi"}]}
    paths = [
        write(tmp_path / "texts.jsonl", texts(3)),
        write(tmp_path / "chats.jsonl", [chat("a", "b")]),
        write(tmp_path / "questions.jsonl", [question]),
        write(tmp_path / "others.jsonl", [{"a": 1}]),
    ]
    ran = run("check", *paths)
    assert ran.code == 0
    told = [line.rpartition(" ")[2] for line in ran.out.splitlines() if "checked as" in line]
    assert told == ["text", "conversations", "questions", "any"]
    assert run("check", paths[0], "--kind", "conversations").code == 1
    assert list((tmp_path / "cache").iterdir()) == []


def test_check_goes_on_after_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    packed = tmp_path / "packed.jsonl"
    packed.write_bytes(b"\x1f\x8b\x08\0\0")
    ran = run("check", packed, write(tmp_path / "good.jsonl", texts(3)))
    assert ran.code == 1
    assert f"{packed}:1: here the gzip data is cut or damaged" in ran.out
    assert ran.count("out") == 3


def test_a_missing_file_and_a_wrong_flag_end_with_code_2(tmp_path: Path) -> None:
    ran = run("check", tmp_path / "none.jsonl")
    assert (ran.code, ran.out) == (2, "")
    assert ran.err.startswith(f"error: {tmp_path / 'none.jsonl'}: there is no such file")
    assert run("filter").code == 2


def test_any_number_of_workers_gives_the_same_bytes(tmp_path: Path) -> None:
    path = write(tmp_path / "many.jsonl", texts(600))
    step = FilterStep(
        tuple(jsonl_parts([path], 5_000)),
        RecordFilter(min_characters=20, scripts=("latin",)),
        Reading(),
    )
    found = []
    for workers in (1, 2):
        work_dir = tmp_path / str(workers)
        counts = run_step(step, work_dir, Execution(workers=workers))
        join_streams(work_dir, "main", tmp_path / "out", overwrite=True)
        found.append((counts, (tmp_path / "out").read_bytes()))
    assert found[0] == found[1]
    assert found[0][0]["out"] == found[0][1].count(b"\n") > 100


def test_stats_counts_what_is_there(tmp_path: Path, tokenizer: EtudeTokenizer) -> None:
    save_tokenizer(tmp_path / "tokenizer", tokenizer, 16, {"made_by": "a test"})
    records = [
        chat("Hello there", "Good day to you"),
        chat("你好", "你好，世界"),
        chat("你好", "你好，世界"),
    ]
    path = write(tmp_path / "chats.jsonl", records)
    picture = tmp_path / "stats.png"
    ran = run("stats", path, "--output", picture, "--tokenizer_dir", tmp_path / "tokenizer")
    assert ran.code == 0, ran.err
    assert "3  records, 1 of them repeat an earlier one" in ran.out
    assert ran.count("characters") == 27 + 2 * 8
    assert ran.count("turns") == 6
    joined = ["Hello there\nGood day to you", "你好\n你好，世界", "你好\n你好，世界"]
    assert ran.count("tokens") == sum(len(tokenizer.encode(text)) for text in joined)
    assert "han 66.7%, latin 33.3%" in ran.out
    assert "assistant 50.0%, user 50.0%" in ran.out
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert run("stats", path, "--output", picture).code == 2  # it exists


def test_quantiles_are_lengths_that_occur() -> None:
    lengths = Counter({1: 50, 7: 49, 1000: 1})
    assert quantiles(lengths, [0.0, 0.5, 0.51, 0.99, 1.0]) == [1, 1, 7, 7, 1000]


def test_head_prints_the_first_records_of_each_file(many: Path) -> None:
    ran = run("head", many, "--records", 2)
    assert ran.raw == b"".join(many.read_bytes().splitlines(keepends=True)[:2])
    pretty = run("head", many, "--records", 1, "--pretty").out
    assert json.loads(pretty) == read(many)[0]
    assert len(pretty.splitlines()) > 3


def test_a_sample_is_the_same_for_the_same_seed_from_a_file_or_a_pipe(many: Path) -> None:
    one = run("sample", many, "--records", 40, "--seed", 3)
    assert one.raw == run("sample", "-", "--records", 40, "--seed", 3, stdin=many.read_bytes()).raw
    assert one.raw != run("sample", many, "--records", 40, "--seed", 4).raw
    drawn = [json.loads(line)["id"] for line in one.out.splitlines()]
    assert len(set(drawn)) == 40
    assert drawn == sorted(drawn)
    assert len(run("sample", many, "--records", 9999).out.splitlines()) == 500


def test_every_record_is_equally_likely_to_be_drawn(tmp_path: Path) -> None:
    path = write(tmp_path / "ten.jsonl", texts(10))
    records = [Record(path, number, 0, b"", {}) for number in range(1, 11)]
    draw = random.Random(1)
    found: Counter[int] = Counter()
    for _ in range(2_000):
        index = Index(records, lambda record: draw.getrandbits(64))
        found.update(index.least(3).nonzero()[0].tolist())
    assert set(found) == set(range(10))
    assert all(500 <= count <= 700 for count in found.values())  # 600 are expected, 20 is sigma


def test_a_share_is_drawn_record_by_record(many: Path) -> None:
    count = len(run("sample", many, "--share", 0.2).out.splitlines())
    assert 70 <= count <= 130


def test_a_shuffle_is_a_permutation_that_the_seed_alone_decides(many: Path, tmp_path: Path) -> None:
    outputs = [tmp_path / f"{name}.jsonl" for name in "abc"]
    for output, flags in zip(outputs, ([], ["--seed", 1], ["--seed", 2]), strict=True):
        assert run("shuffle", many, "--output", output, *flags).code == 0
    first, second, third = (output.read_bytes() for output in outputs)
    assert first == second
    assert first != third
    assert first != many.read_bytes()
    assert sorted(first.splitlines()) == sorted(many.read_bytes().splitlines())
    assert run("shuffle", "-", "--output", tmp_path / "d.jsonl", stdin=many.read_bytes()).code == 0
    assert (tmp_path / "d.jsonl").read_bytes() == first
    assert names_in(tmp_path) == ["a.jsonl", "b.jsonl", "c.jsonl", "d.jsonl", "many.jsonl"]


def test_a_shuffle_holds_some_bytes_of_each_record_in_memory(tmp_path: Path) -> None:
    """Files may be larger than memory; the order of records of equal length is that of others."""
    records = [{"text": f"{number:05d}" + 8_000 * "a"} for number in range(2_000)]
    path, output = write(tmp_path / "long.jsonl", records), tmp_path / "out.jsonl"
    tracemalloc.start()
    assert run("shuffle", path, "--output", output).code == 0
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < path.stat().st_size / 3
    assert sorted(output.read_bytes().splitlines()) == sorted(path.read_bytes().splitlines())


def test_a_file_that_changes_while_it_is_shuffled_is_refused(many: Path) -> None:
    index = Index(read_records(many), lambda record: record.line)
    contents = index.contents(index.order())
    assert json.loads(next(contents)) == read(many)[0]
    with many.open("ab") as file:
        file.write(b"{}\n")
    with pytest.raises(UserError, match="was changed while it was read"):
        list(contents)


def test_what_a_killed_shuffle_left_is_not_in_the_way(many: Path, tmp_path: Path) -> None:
    (tmp_path / "out.jsonl.tmp").write_bytes(b"half")
    assert run("shuffle", many, "--output", tmp_path / "out.jsonl").code == 0
    assert names_in(tmp_path) == ["many.jsonl", "out.jsonl"]


@pytest.mark.parametrize("by", ["content", "index"])
@pytest.mark.parametrize("amount", [["--records", 50], ["--share", 0.1]])
def test_a_split_puts_each_record_into_one_file_in_order(
    by: str, amount: list[object], many: Path, tmp_path: Path
) -> None:
    train, validation = tmp_path / "train.jsonl", tmp_path / "validation.jsonl"
    flags = ["--train", train, "--validation", validation, "--by", by, *amount]
    assert run("split", many, *flags).code == 0
    assert len(read(validation)) == 50
    ids = [[record["id"] for record in read(path)] for path in (train, validation)]
    assert all(numbers == sorted(numbers) for numbers in ids)
    assert sorted(ids[0] + ids[1]) == list(range(500))
    assert names_in(tmp_path) == ["many.jsonl", "train.jsonl", "validation.jsonl"]


def test_a_split_by_content_never_puts_one_text_into_both(tmp_path: Path) -> None:
    records = [{**record, "copy": copy} for copy in range(3) for record in texts(100)]
    path = write(tmp_path / "copies.jsonl", records)
    train, validation = tmp_path / "train.jsonl", tmp_path / "validation.jsonl"
    run("split", path, "--train", train, "--validation", validation, "--records", 31)
    sides = [{record["text"] for record in read(side)} for side in (train, validation)]
    assert not sides[0] & sides[1]
    assert 31 <= len(read(validation)) <= 33


def test_a_split_that_would_leave_a_file_empty_is_refused(many: Path, tmp_path: Path) -> None:
    flags = ["--train", tmp_path / "t.jsonl", "--validation", tmp_path / "v.jsonl"]
    ran = run("split", many, *flags, "--records", 500)
    assert ran.code == 2
    assert "so that both files have some" in ran.err
    assert names_in(tmp_path) == ["many.jsonl"]
    assert run("split", "-", *flags, "--records", 5).code == 2


def test_merge_keeps_the_order_and_tells_of_keys_that_not_all_have(tmp_path: Path) -> None:
    one = write(tmp_path / "one.jsonl", texts(3))
    two = write(tmp_path / "two.jsonl", [{"text": "other", "lang": "en"}, texts(1)[0]])
    ran = run("merge", two, one, "--output", tmp_path / "all.jsonl")
    assert read(tmp_path / "all.jsonl") == read(two) + read(one)
    assert "note: keys that not all records have: id (4), lang (1)" in ran.out
    ran = run("merge", two, one, "--dedup", "--output", tmp_path / "fewer.jsonl")
    assert read(tmp_path / "fewer.jsonl") == read(two) + read(one)[1:]
    assert ran.count("dropped: the same as an earlier one") == 1


def test_texts_and_conversations_are_not_merged(tmp_path: Path) -> None:
    one, two = write(tmp_path / "a.jsonl", texts(2)), write(tmp_path / "b.jsonl", [chat("a", "b")])
    ran = run("merge", one, two, "--output", tmp_path / "c.jsonl")
    assert ran.code == 2
    assert ran.err.startswith(f"error: {two}:1: found the keys ['conversations'], but {one}:1 has")
    assert names_in(tmp_path) == ["a.jsonl", "b.jsonl"]


def test_cut_takes_whole_records_by_number_or_size(many: Path, tmp_path: Path) -> None:
    lines = many.read_bytes().splitlines(keepends=True)
    assert run("cut", many, "--records", 7).raw == b"".join(lines[:7])
    size = sum(map(len, lines[:7]))
    for given, count in ((f"{size}", 7), (f"{size - 1}B", 6), ("1KB", None), ("1GiB", 500)):
        raw = run("cut", many, "--size", given).raw
        assert raw == b"".join(lines[: count or raw.count(b"\n")])
        assert len(raw) <= (parse_size(given) or 0)
    assert run("cut", many, "--size", "many").code == 2
    assert run("cut", many).code == 2


@pytest.mark.parametrize(
    ("text", "size"),
    [("10", 10), ("1.5KB", 1500), ("2 MiB", 2 << 20), ("1gb", 10**9), ("", None), ("-1", None)],
)
def test_sizes_have_units(text: str, size: int | None) -> None:
    assert parse_size(text) == size


FILTERED = [
    {"text": "short", "id": 0},
    {"text": "这是一个比较长的中文句子。", "id": 1, "lang": "zh"},
    {"text": "This is a rather long sentence in English, is it not?", "id": 2},
    {**chat("What is it?", "It is 42.", id=3)},
    {**chat("And now?", "Nothing.", "Why?", "No reason."), "id": 4},
]


@pytest.mark.parametrize(
    ("flags", "kept"),
    [
        (["--min_characters", 12], [1, 2, 3, 4]),
        (["--max_characters", 20], [0, 1]),
        (["--scripts", "han"], [1]),
        (["--languages", "zh", "en"], [1, 2, 4]),
        (["--min_turns", 1], [3, 4]),
        (["--max_turns", 2], [0, 1, 2, 3]),
        (["--with_roles", "assistant"], [3, 4]),
        (["--without_roles", "assistant"], [0, 1, 2]),
        (["--keep_pattern", "[0-9]{2}"], [3]),
        (["--drop_pattern", "(?i)it"], [0, 1, 4]),
        (["--pattern_role", "user", "--keep_pattern", "it"], [3]),
        (["--with_keys", "lang"], [1]),
        (["--without_keys", "lang", "text"], [3, 4]),
        (["--min_characters", 12, "--scripts", "latin", "--without_roles", "user"], [2]),
    ],
)
def test_a_filter_keeps_what_passes_and_gives_reasons_for_the_rest(
    flags: list[object], kept: list[int], tmp_path: Path
) -> None:
    path = write(tmp_path / "mixed.jsonl", FILTERED)
    rejected = tmp_path / "rejected.jsonl"
    ran = run("filter", "-", *flags, "--rejected", rejected, stdin=path.read_bytes())
    lines = path.read_bytes().splitlines(keepends=True)
    assert ran.raw == b"".join(lines[number] for number in kept)
    dropped = read(rejected)
    assert [record["id"] for record in dropped] == [n for n in range(5) if n not in kept]
    assert all(record["reason"] for record in dropped)
    assert ran.count("documents in") == 5
    assert ran.count("out") == len(kept)


def test_a_filter_by_tokens_counts_as_the_tokenizer_does(
    many: Path, tmp_path: Path, tokenizer: EtudeTokenizer
) -> None:
    save_tokenizer(tmp_path / "tokenizer", tokenizer, 16, {"made_by": "a test"})
    flags = ["--max_tokens", 12, "--tokenizer_dir", tmp_path / "tokenizer"]
    found = [json.loads(line) for line in run("filter", many, *flags).out.splitlines()]
    assert found == [r for r in read(many) if len(tokenizer.encode(r["text"])) <= 12]
    assert 0 < len(found) < 500


@pytest.mark.parametrize(
    "flags",
    [
        [],
        ["--keep_pattern", "("],
        ["--min_tokens", 3],
        ["--scripts", "latim"],
        ["--min_turns", 3, "--max_turns", 2],
    ],
)
def test_conditions_that_make_no_sense_are_refused(flags: list[object], many: Path) -> None:
    ran = run("filter", many, *flags)
    assert (ran.code, ran.raw) == (2, b"")
    assert ran.err.startswith("error: ")


def test_a_filter_of_files_gives_the_bytes_of_a_filter_of_a_pipe(
    many: Path, tmp_path: Path
) -> None:
    flags = ["--min_characters", 20]
    output = tmp_path / "out.jsonl"
    assert run("filter", many, *flags, "--output", output, "--workers", 1).code == 0
    assert output.read_bytes() == run("filter", "-", *flags, stdin=many.read_bytes()).raw
    assert names_in(tmp_path) == ["many.jsonl", "out.jsonl"]


@pytest.mark.parametrize(
    "command",
    [
        ["filter", "--min_characters", 1],
        ["convert"],
        ["sample", "--records", 5],
        ["shuffle"],
        ["merge"],
        ["cut", "--records", 5],
    ],
    ids=lambda command: command[0],
)
def test_no_file_is_replaced_unless_that_is_asked_for(
    command: list[object], many: Path, tmp_path: Path
) -> None:
    output = tmp_path / "out.jsonl"
    output.write_bytes(b"precious")
    ran = run(*command, many, "--output", output)
    assert ran.code == 2
    assert "--overwrite" in ran.err
    assert output.read_bytes() == b"precious"
    assert run(*command, many, "--output", many, "--overwrite").code == 2  # what is read
    assert run(*command, many, "--output", output, "--overwrite").code == 0
    assert len(read(output)) in (5, 500)
    assert names_in(tmp_path) == ["many.jsonl", "out.jsonl"]


def test_line_ends_and_byte_order_marks_of_windows_do_not_reach_the_output(
    tmp_path: Path,
) -> None:
    path = tmp_path / "windows.jsonl"
    path.write_bytes(b'\xef\xbb\xbf{"text": "a"}\r\n\r\n{"text": "b"}')
    for command in (["merge"], ["filter", "--min_characters", 1], ["sample", "--records", 9]):
        assert run(*command, path).raw == b'{"text": "a"}\n{"text": "b"}\n'


def test_the_script_works_as_a_link_of_a_pipe(many: Path) -> None:
    command = [sys.executable, str(SCRIPT)]
    with subprocess.Popen(
        [*command, "sample", str(many), "--records", "400"], stdout=subprocess.PIPE
    ) as first:
        result = subprocess.run(
            [*command, "head", "-", "--records", "1"],
            stdin=first.stdout,
            capture_output=True,
            timeout=60,
        )
    assert result.returncode == 0
    assert "id" in json.loads(result.stdout)


def test_the_configuration_of_a_command_is_its_help() -> None:
    assert "code 1" in (CheckConfig.__doc__ or "")
    assert CheckConfig().problems() == ["input_files: name at least one file, before the flags"]
    with pytest.raises(UserError):
        CheckConfig((Path("none"),)).files()


RATED = [
    {"text": "a", "score": 4, "meta": {"source": "book", "ok": True}, "lang": "en"},
    {"text": "b", "score": 2.5, "meta": {"source": "web", "ok": False}, "lang": "zh"},
    {"text": "c", "score": "3", "meta": None, "a.b": 1},
    {"text": "d", "score": None, "lang": "en"},
]


@pytest.mark.parametrize(
    ("conditions", "kept"),
    [
        (["lang=en"], "ad"),
        (["lang==en"], "ad"),
        (["lang!=en"], "bc"),
        (["score>=3"], "ac"),
        (["score<3"], "b"),
        (["score=4"], "a"),
        (["score=4.0"], "a"),
        (["score!=4"], "bcd"),
        (["meta.source=web"], "b"),
        (["meta.source!=web"], "acd"),
        (["meta.ok=true"], "a"),
        (["meta.ok!=true"], "bcd"),
        (["a.b=1"], "c"),
        (["score>1", "lang=en"], "a"),
    ],
)
def test_a_filter_by_values_reads_nested_keys_and_compares_numbers(
    conditions: list[str], kept: str, tmp_path: Path
) -> None:
    path = write(tmp_path / "a.jsonl", RATED)
    ran = run("filter", path, "--where", *conditions)
    assert "".join(json.loads(line)["text"] for line in ran.out.splitlines()) == kept
    assert ran.count(f"dropped: not {conditions[0]}") == 4 - len(kept) or len(conditions) > 1


def test_conditions_that_are_none_are_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", RATED)
    for condition in ("lang", "=en", "score>high"):
        ran = run("filter", path, "--where", condition)
        assert ran.code == 2
        assert repr(condition) in ran.err


@pytest.mark.parametrize(
    ("record", "key", "expected"),
    [
        ({"content": "x", "id": 1}, "content", {"text": "x", "id": 1}),
        (
            {"meta": {"text": "x", "n": 1}, "text": "old"},
            "meta.text",
            {"text": "x", "meta": {"n": 1}},
        ),
        ({"a": {"b": {"c": "x"}}}, "a.b.c", {"text": "x", "a": {"b": {}}}),
        ({"a.b": "x", "a": {"b": "y"}}, "a.b", {"text": "x", "a": {"b": "y"}}),
        ({"text": "x", "id": 1}, "content", {"text": "x", "id": 1}),
    ],
)
def test_the_key_of_the_text_may_be_another_and_nested(
    record: dict[str, Any], key: str, expected: dict[str, Any], tmp_path: Path
) -> None:
    path, output = write(tmp_path / "a.jsonl", [record]), tmp_path / "out.jsonl"
    assert json.loads(run("convert", path, "--text_key", key).out) == expected
    for script in ("split_text", "clean_text", "dedup_jsonl"):
        flags = ["--text_key", key, "--output", output, "--overwrite", "--workers", 1]
        ran = run(path, *flags, script=ROOT / "data_process" / f"{script}.py")
        if script == "split_text":
            assert {**read(output)[0], "text_begin": 0} == {**expected, "text_begin": 0}
        if script == "clean_text":
            assert "too short (1)" in ran.err
        if script == "dedup_jsonl":
            assert read(output) == [record]
    bad = run("convert", path, "--text_key", "no.such") if "text" not in record else None
    assert bad is None or (bad.code == 2 and f"{path}:1: " in bad.err)
