"""The data of others becomes ours: every format, every packing, every odd conversation."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest

from config import PathConfig
from data_process.records.formats import FORMATS, formats_of
from data_process.records.kinds import conversation_problems, text_problems
from data_process.records.turns import Turn, tidy
from tests.data_process.jsonl_command import Ran, chat, read, run, write


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Work directories of the tests stay among their files."""
    monkeypatch.setattr(PathConfig, "cache_dir", tmp_path / "cache")


def convert(*records: Any, flags: tuple[object, ...] = ()) -> tuple[list[Any], Ran]:
    """What becomes of records that come from a pipe."""
    content = "".join(json.dumps(record) + "\n" for record in records).encode()
    ran = run("convert", "-", *flags, stdin=content)
    return [json.loads(line) for line in ran.out.splitlines()], ran


HUMAN, GPT = {"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Hello"}
USER, ASSISTANT = {"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}
HI = chat("Hi", "Hello")
SYSTEM = {"conversations": [{"role": "system", "content": "Be kind."}, *HI["conversations"]]}


@pytest.mark.parametrize(
    ("name", "record", "expected"),
    [
        ("alpaca", {"instruction": "Hi", "input": "", "output": "Hello"}, HI),
        ("alpaca", {"instruction": "Hi", "output": "Hello", "id": 7}, {**HI, "id": 7}),
        (
            "alpaca",
            {"instruction": "Add", "input": "1 2", "output": "3", "text": "Add 1 2 3"},
            chat("Add\n1 2", "3", text="Add 1 2 3"),
        ),
        (
            "alpaca",
            {"instruction": "C", "output": "D", "history": [["A", "B"]]},
            chat("A", "B", "C", "D"),
        ),
        ("alpaca", {"system": "Be kind.", "instruction": "Hi", "output": "Hello"}, SYSTEM),
        ("sharegpt", {"conversations": [HUMAN, GPT], "source": "x"}, {**HI, "source": "x"}),
        ("sharegpt", {"conversation": [HUMAN, GPT], "system": "Be kind."}, SYSTEM),
        ("messages", {"messages": [USER, ASSISTANT]}, HI),
        (
            "messages",
            {"messages": [{"role": "developer", "content": "Be kind."}, USER, ASSISTANT]},
            SYSTEM,
        ),
        (
            "messages",
            {"messages": [{**USER, "content": [{"type": "text", "text": "Hi"}]}, ASSISTANT]},
            HI,
        ),
        ("conversations", {**HI, "lang": "en"}, {**HI, "lang": "en"}),
        (
            "preference",
            {"chosen": [USER, ASSISTANT], "rejected": [USER], "score": 1},
            {**HI, "score": 1},
        ),
        ("preference", {"prompt": "Hi", "chosen": "Hello", "rejected": "Go away"}, HI),
        ("preference", {"conversations": [HUMAN], "chosen": GPT, "rejected": HUMAN}, HI),
        ("question", {"question": "Hi", "answer": "Hello"}, HI),
        ("question", {"prompt": "Hi", "response": "Hello"}, HI),
        ("question", {"prompt": "Hi", "completion": "Hello", "lang": "en"}, {**HI, "lang": "en"}),
        ("question", {"query": "Hi", "response": "Hello"}, HI),
        ("question", {"问": "Hi", "答": "Hello"}, HI),
        ("question", {"q": "Hi", "a": "Hello"}, HI),
        ("question", {"input": "Hi", "output": "Hello"}, HI),
        (
            "written",
            {"text": "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\nHello<|im_end|>\n"},
            HI,
        ),
        ("text", {"text": "one", "id": 1}, {"text": "one", "id": 1}),
        ("text", {"content": "one", "title": "t"}, {"text": "one", "title": "t"}),
        ("text", {"text": "<s>one</s>"}, {"text": "one"}),
        ("text", {"text": "<|im_start|>one<|im_end|>"}, {"text": "one"}),
    ],
)
def test_a_format_is_found_and_converted(
    name: str, record: dict[str, Any], expected: dict[str, Any]
) -> None:
    assert formats_of(record) == [name]
    assert convert(record)[0] == [expected]


def test_an_answer_that_was_rejected_is_left_out_and_counted() -> None:
    preference = {"prompt": "Hi", "chosen": "Hello", "rejected": "Go away"}
    _, ran = convert(preference, preference, {"prompt": "Hi", "chosen": "Hello"})
    assert ran.count("changed: the rejected answer left out") == 2


def test_documents_between_markers_become_records_of_their_own() -> None:
    text = "<|im_start|>one<|im_end|> <|im_start|>two\nlines<|im_end|><|im_start|>cut"
    found, ran = convert({"text": text, "id": 1})
    assert found == [{"text": t, "id": 1} for t in ("one", "two\nlines", "cut")]
    assert convert({"text": "a <s> in the middle"})[0] == [{"text": "a <s> in the middle"}]
    assert ran.count("out") == 3


def S(content: str = "x") -> Turn:
    return Turn("system", content)


def U(content: str = "x") -> Turn:
    return Turn("user", content)


def A(content: str = "x") -> Turn:
    return Turn("assistant", content)


@pytest.mark.parametrize(
    ("turns", "expected", "told"),
    [
        ([U("a"), A("b")], ["a", "b"], []),
        ([S("s"), U("a"), A("b")], ["s", "a", "b"], []),
        ([S("s"), S("t"), U("a"), A("b")], ["s\n\nt", "a", "b"], []),
        ([U("a"), A("b"), U("c")], ["a", "b"], ["ends before a user's turn without an answer"]),
        (
            [A("z"), U("a"), A("b")],
            ["a", "b"],
            ["assistant's turns before the first user's left out"],
        ),
        (
            [U("a"), U("b"), A("c"), A("d")],
            ["a\n\nb", "c\n\nd"],
            ["turns of one role in a row joined"],
        ),
        (
            [U("a"), A("b"), U("c"), Turn("assistant", "", "an empty turn"), U("d"), A("e")],
            ["a", "b"],
            ["ends before an empty turn"],
        ),
        (
            [U("a"), A("b"), U("c"), Turn("tool", "", "a tool message"), A("d")],
            ["a", "b"],
            ["ends before a tool message"],
        ),
        (
            [U("a"), A("b"), S("s"), U("c"), A("d")],
            ["a", "b"],
            ["ends before a second system turn"],
        ),
        (
            [Turn("system", "", "an empty turn"), U("a"), A("b")],
            ["a", "b"],
            ["a system turn without a text left out"],
        ),
    ],
)
def test_an_odd_conversation_is_mended_by_a_rule_that_is_told(
    turns: list[Turn], expected: list[str], told: list[str]
) -> None:
    found = tidy(turns)
    assert [message["content"] for message in found.messages] == expected
    assert found.changes == [f"changed: {what}" for what in told]


@pytest.mark.parametrize(
    ("turns", "reason"),
    [
        ([], "no answer in it"),
        ([S()], "no answer in it"),
        ([A()], "no answer in it"),
        ([U()], "nothing to learn before a user's turn without an answer"),
        ([U(), Turn("tool", "", "a tool message"), A()], "nothing to learn before a tool message"),
    ],
)
def test_a_conversation_with_nothing_to_learn_is_dropped(turns: list[Turn], reason: str) -> None:
    assert tidy(turns).reason == reason


def test_whatever_a_conversation_is_its_result_is_one_of_ours() -> None:
    draw = random.Random(1)
    kept = 0
    for _ in range(3_000):
        turns = [
            Turn(
                draw.choice(["user", "assistant", "system"]),
                draw.choice(["a", "b"]),
                draw.choice([None] * 9 + ["an empty turn"]),
            )
            for _ in range(draw.randrange(8))
        ]
        found = tidy(turns)
        assert bool(found.messages) != bool(found.reason)
        if found.messages:
            assert list(conversation_problems({"conversations": found.messages})) == []
            assert found.messages[-1]["role"] == "assistant"
            kept += 1
    assert kept > 300


def test_calls_of_tools_and_their_results_are_kept(tmp_path: Path) -> None:
    call = {"name": "add", "arguments": {"a": 1}}
    openai = {"id": "1", "type": "function", "function": {"name": "add", "arguments": "{}"}}
    calls = [{"type": "function", "function": call}]
    result = {"from": "observation", "value": "1"}
    records: list[dict[str, Any]] = [
        {
            "conversations": [
                HUMAN,
                {"from": "function_call", "value": json.dumps(call)},
                result,
                GPT,
            ],
            "tools": "[]",
        },
        {"conversations": [HUMAN, {"from": "gpt", "value": "Hm", "function_call": call}, result]},
        {"conversations": [HUMAN, GPT, HUMAN, result]},
    ]
    found, ran = convert(*records)
    assert found[0]["conversations"] == [
        USER,
        {"role": "assistant", "content": "", "tool_calls": calls},
        {"role": "tool", "content": "1"},
        ASSISTANT,
    ]
    assert found[1]["conversations"] == [USER, {**ASSISTANT, "content": "Hm", "tool_calls": calls}]
    assert found[2] == HI
    assert ran.count("changed: ends before a tool's turn without an answer") == 2
    messages = [
        USER,
        {"role": "assistant", "content": None, "tool_calls": [openai]},
        {"role": "tool", "content": {"sum": 3}, "tool_call_id": "1"},
        ASSISTANT,
    ]
    (kept,), _ = convert({"messages": messages})
    assert kept["conversations"][1]["tool_calls"] == [openai]
    assert kept["conversations"][2] == {
        "role": "tool",
        "content": '{"sum": 3}',
        "tool_call_id": "1",
    }
    output = write(tmp_path / "tools.jsonl", [*found, kept])
    checked = run("check", output, "--workers", 1)
    assert checked.code == 0
    ran = run("filter", output, "--without_roles", "tool", "--without_keys", "tools")
    assert [json.loads(line) for line in ran.out.splitlines()] == [HI]


CALL = {"name": "add", "arguments": {"a": 1}}
TOOL = {"name": "add", "parameters": {}}
AS_OPENAI = {"type": "function", "function": TOOL}


@pytest.mark.parametrize(
    ("record", "tools", "messages"),
    [
        ({"messages": [USER, ASSISTANT], "tools": json.dumps([TOOL])}, [AS_OPENAI], None),
        ({"messages": [USER, ASSISTANT], "functions": [TOOL]}, [AS_OPENAI], None),
        ({"messages": [USER, ASSISTANT], "tools": [AS_OPENAI]}, [AS_OPENAI], None),
        (
            {
                "conversations": [
                    {"role": "system", "content": "S", "tools": json.dumps([AS_OPENAI])},
                    USER,
                    {"role": "assistant", "content": "", "tool_calls": json.dumps([CALL])},
                    {"role": "tool", "content": "", "name": "add"},
                    ASSISTANT,
                ]
            },
            [AS_OPENAI],
            [
                {"role": "system", "content": "S"},
                USER,
                {
                    "role": "assistant",
                    "content": "",
                    "tool_calls": [{"type": "function", "function": CALL}],
                },
                {"role": "tool", "content": "", "name": "add"},
                ASSISTANT,
            ],
        ),
        (
            {"messages": [USER, {**ASSISTANT, "content": "<think>\nHm.\n</think>\n\nYes."}]},
            None,
            [USER, {"role": "assistant", "content": "Yes.", "reasoning_content": "Hm."}],
        ),
        (
            {"messages": [USER, {**ASSISTANT, "reasoning_content": "Hm."}]},
            None,
            [USER, {**ASSISTANT, "reasoning_content": "Hm."}],
        ),
        (
            {"messages": [USER, {**ASSISTANT, "content": "<think>cut"}]},
            None,
            [USER, {**ASSISTANT, "content": "<think>cut"}],
        ),
    ],
)
def test_tools_and_thoughts_come_to_openais_form(
    record: dict[str, Any], tools: Any, messages: Any
) -> None:
    (found,), _ = convert(record)
    assert found.get("tools") == tools
    assert found["conversations"] == (messages or [USER, ASSISTANT])
    assert list(conversation_problems(found)) == []


@pytest.mark.parametrize(
    ("records", "sentence"),
    [
        ([{"messages": [USER, ASSISTANT], "tools": "{"}], '"tools" must be JSON'),
        ([{"messages": [USER, ASSISTANT], "tools": "3"}], '"tools" must be a list of objects'),
        ([{"conversations": [HUMAN], "messages": [USER]}], "may be sharegpt or messages"),
        ([{"text": "a", "question": "b", "answer": "c"}], "may be question or text"),
        ([{"text": "a"}, {"question": "b", "answer": "c"}], "text (line 1) and question (line 2)"),
        ([{"a": 1}], "found the keys ['a'], which is not a known format"),
        ([{"query": "a", "prompt": "b", "answer": "c"}], "name the right keys with --question_key"),
        ([{"conversations": [{"from": "narrator", "value": "a"}]}], "has the role 'narrator'"),
        ([{"messages": [{"role": "user", "content": 3}]}], "needs a content that is text, not int"),
        ([{"instruction": "a", "output": "b"}, {"instruction": "a"}], "must have a text under"),
    ],
)
def test_what_cannot_be_told_is_refused_in_one_sentence(records: list[Any], sentence: str) -> None:
    _, ran = convert(*records)
    assert ran.code == 2
    *_, last = ran.err.splitlines()
    assert sentence in last
    assert last.startswith("error: standard input:")


def test_formats_and_keys_can_be_named() -> None:
    record = {"query": "a", "prompt": "b", "answer": "c"}
    flags = ("--question_key", "prompt", "--answer_key", "answer")
    assert convert(record, flags=flags)[0] == [chat("b", "c", query="a")]
    both = {"messages": [USER, ASSISTANT], "text": "x", "question": "b", "answer": "c"}
    assert convert(both, flags=("--from", "messages"))[0][0]["conversations"] == [USER, ASSISTANT]
    assert convert(both, flags=("--from", "text"))[0][0]["text"] == "x"
    assert convert(record, flags=("--question_key", "prompt"))[1].code == 2


def test_records_of_another_format_are_skipped_when_that_is_asked_for() -> None:
    records = [{"text": "a"}, {"question": "b", "answer": "c"}, {"text": ""}, {"text": "d"}]
    found, ran = convert(*records, flags=("--from", "text", "--bad_records", "skip"))
    assert found == [{"text": "a"}, {"text": "d"}]
    assert ran.count("dropped: bad record") == 1
    assert ran.count("dropped: empty") == 1


@pytest.mark.parametrize("indent", [None, 2])
def test_an_array_is_read_like_lines(indent: int | None, tmp_path: Path) -> None:
    records = [{"instruction": f'Count to {n}: ]}},["', "output": "1 " * n} for n in range(1, 400)]
    text = json.dumps(records, indent=indent, ensure_ascii=False)
    array = tmp_path / "data.json"
    array.write_bytes(b"\xef\xbb\xbf" + text.encode("utf-8"))
    assert run("convert", array).raw == run("convert", write(tmp_path / "l.jsonl", records)).raw
    assert len(run("convert", array).out.splitlines()) == 399


def test_an_array_larger_than_what_is_read_at_once_is_streamed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("data_process.records.sources.PIECE_BYTES", 64)
    draw = random.Random(1)
    characters = 'aé世🦊"\\\n{}[], '
    records = [
        {"text": "x" + "".join(draw.choices(characters, k=draw.randrange(300))), "n": n * 1.5}
        for n in range(60)
    ]
    path = tmp_path / "data.json"
    path.write_bytes(json.dumps(records, ensure_ascii=draw.random() < 0.5).encode("utf-8"))
    assert [json.loads(line) for line in run("convert", path).out.splitlines()] == records


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ('[{"text": "a"},\n{"text": "b"}', ":2: an item must be followed by a comma"),
        ('[{"text": "a"},\n', ":2: the array has no end"),
        ('[{"text": "a"},\n]', ":1: a comma stands behind the last item"),
        ('[\n{"text": "a"},\n\n]', ":2: a comma stands behind the last item"),
        ('[{"text": "a"}\n{"text": "b"}]', ":2: an item must be followed by a comma"),
        ('[{"text": "a"},\n{"text": "b" "c"}]', ":2: not valid JSON"),
        ('[{"text": "a"}]\nmore', ":2: something stands behind"),
        ('[{"text": "a"},\n\n{"text": NaN}]', ":3: not valid JSON (NaN"),
        ('[{"text": "a"},\n 7]', ":2: found int"),
        ('[{"text": "a"},\n{"text": "b\\ud800"}]', ":2: half a surrogate pair"),
    ],
)
def test_a_bad_array_is_named_by_line(text: str, sentence: str, tmp_path: Path) -> None:
    path = tmp_path / "data.json"
    path.write_text(text, encoding="utf-8")
    ran = run("convert", path)
    assert ran.code == 2
    assert ran.err.startswith(f"error: {path}{sentence}")


def test_a_list_in_the_first_line_does_not_make_an_array_of_a_file_of_lines(
    tmp_path: Path,
) -> None:
    path = tmp_path / "data.jsonl"
    path.write_text('["a"]\n{"text": "b"}\n', encoding="utf-8")
    assert run("convert", path).err.startswith(f"error: {path}:1: found list; a line must be")
    assert json.loads(run("convert", path, "--bad_records", "skip").out) == {"text": "b"}


def test_bad_items_of_an_array_in_one_line_are_named_by_their_number(tmp_path: Path) -> None:
    path = tmp_path / "data.json"
    path.write_text('[{"text": "a"}, 7, {"text": NaN}, "b"]', encoding="utf-8")
    assert f"{path}:2: found int" in run("convert", path).err
    ran = run("convert", path, "--bad_records", "skip")
    assert [json.loads(line)["text"] for line in ran.out.splitlines()] == ["a", "b"]
    assert ran.count("dropped: bad record") == 2


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.csv", 'question,answer,id\nHi,"Hello, ""you""\nthere",1\n'),
        ("a.csv", '\ufeffquestion;answer;id\r\nHi;"Hello, ""you""\nthere";1\r\n'),
        ("a.tsv", 'question\tanswer\tid\nHi\t"Hello, ""you""\nthere"\t1\n'),
    ],
)
def test_a_table_is_read_by_the_names_of_its_columns(name: str, text: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_bytes(text.encode("utf-8"))
    ran = run("convert", path)
    assert json.loads(ran.out) == chat("Hi", 'Hello, "you"\nthere', id="1")


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("question,answer\na,b\nc\n", ":3: 1 columns, but the first line names 2"),
        ('question,answer\na,b\nc,"d\n', ":3: not a row of a table"),
        ("question,question\na,b\n", ":1: the first line must name each column once"),
        ("question,answer\na,b\0\n", ":2: a NUL byte"),
        ("", ": the file is empty"),
        ("question,answer\n", ": the file is empty"),
    ],
)
def test_a_bad_table_is_named_by_line(text: str, sentence: str, tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text(text, encoding="utf-8")
    ran = run("convert", path, "--from", "question")
    assert ran.code == 2
    assert ran.err.startswith(f"error: {path}{sentence}"), ran.err


def test_lines_of_a_text_file_become_texts_when_that_is_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("one\n\ntwo \n", encoding="utf-8")
    assert "split_text.py" in run("convert", path).err
    found = run("convert", path, "--from", "lines").out.splitlines()
    assert [json.loads(line) for line in found] == [{"text": "one"}, {"text": "two "}]


def test_files_of_several_formats_become_one_of_ours(tmp_path: Path) -> None:
    one = write(tmp_path / "1.jsonl", [{"instruction": "Hi", "output": "Hello"}] * 2)
    two = write(tmp_path / "2.jsonl", [{"messages": [USER, ASSISTANT]}])
    output = tmp_path / "all.jsonl"
    ran = run("convert", one, two, "--output", output, "--workers", 1)
    assert read(output) == [HI] * 3
    assert f"{one}: alpaca\n{two}: messages\n" in ran.out
    assert run("check", output).code == 0
    three = write(tmp_path / "3.jsonl", [{"text": "a"}])
    assert "convert them apart" in run("convert", one, three).err


def test_converting_what_is_ours_changes_no_byte(tmp_path: Path) -> None:
    path = write(tmp_path / "chats.jsonl", [chat("a", "b", id=1), SYSTEM])
    assert run("convert", path).raw == path.read_bytes()


def test_real_files_become_good_training_data(shared_data: Path, tmp_path: Path) -> None:
    names = (
        "raw/glaive_toolcall_zh_demo.json",
        "dpo_zh.jsonl",
        "raw/self_instruct_seed_tasks.jsonl",
    )
    output = tmp_path / "out.jsonl"
    for name, share in zip(names, (1.0, 1.0, 0.0), strict=True):
        ran = run("convert", shared_data / name, "--output", output, "--overwrite", "--workers", 1)
        if not share:
            assert ran.code == 2  # instances of several inputs: no format of ours
            continue
        assert ran.count("out") == ran.count("documents in")
        assert run("check", output, "--workers", 1).code == 0


def test_every_format_has_an_example_and_refuses_what_is_none_of_it() -> None:
    assert all(format.example for format in FORMATS.values())
    assert list(text_problems({"text": "a"})) == []
    assert formats_of({}) == []
