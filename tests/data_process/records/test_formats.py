"""The forms of public data sets: what each becomes, what is refused and by which name."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from config import PathConfig, UserError
from data_process.records.formats import converter, formats_of
from data_process.records.jsonl import read_conversations, read_texts
from data_process.records.kinds import PROBLEMS, BadLine, Kind, kind_of
from model.conversation import Conversation
from tests.data_process.jsonl_command import chat, read, run, write


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Work directories of the tests stay among their files."""
    monkeypatch.setattr(PathConfig, "cache_dir", tmp_path / "cache")


Q, A, BAD = "What is 1 + 1?", "2", "3"
USER, GOOD, WORSE = (
    {"role": "user", "content": Q},
    {"role": "assistant", "content": A},
    {"role": "assistant", "content": BAD},
)
HUMAN, GPT = {"from": "human", "value": Q}, {"from": "gpt", "value": A}
CHAT = chat(Q, A)
SYSTEM = {"conversations": [{"role": "system", "content": "Be kind."}, *CHAT["conversations"]]}
BAD_CALL = {"function": {"name": "f", "arguments": "3"}}
PAIR = {"conversations": [USER], "chosen": A, "rejected": BAD}


def converted(record: dict[str, Any], goal: Any = "sft") -> Any:
    """What a record becomes: the new ones, or why it is dropped."""
    (name,) = formats_of(record)
    made = list(converter(name, goal=goal)(record))
    return made[0][1] or made[0][0]


PUBLIC: dict[str, dict[str, Any]] = {
    "OpenOrca": {"id": "1", "system_prompt": "", "question": Q, "response": A},
    "Dolly": {"instruction": Q, "context": "", "response": A, "category": "open_qa"},
    "oasst, flat": {"INSTRUCTION": Q, "RESPONSE": A, "SOURCE": "x"},
    "Vicuna": {"id": "1", "conversations": [HUMAN, GPT]},
    "ShareGPT, chatgpt": {"items": [{"from": "human", "value": Q}, {**GPT, "from": "chatgpt"}]},
    "ShareGPT, bing": {"conversations": [{"from": "user", "value": Q}, {**GPT, "from": "bing"}]},
    "BELLE": {"instruction": Q, "input": "", "output": A},
    "BELLE, several turns": {"instruction": f"Human:{Q}\nAssistant:", "input": "", "output": A},
    "Firefly": {"kind": "NLI", "input": Q, "target": A},
    "Firefly, several turns": {"conversation": [{"human": Q, "assistant": A}]},
    "MOSS": {
        "meta_instruction": "",
        "chat": {"turn_1": {"Human": f"<|Human|>: {Q}<eoh>\n", "MOSS": f"<|MOSS|>: {A}<eom>\n"}},
    },
    "WizardLM": {"instruction": Q, "output": A},
    "MetaMathQA": {"type": "GSM", "query": Q, "response": A, "original_question": Q},
    "GSM8K": {"question": Q, "answer": A},
    "FLAN": {"inputs": Q, "targets": A, "task": "x"},
    "P3": {"inputs_pretokenized": Q, "targets_pretokenized": A},
    "UltraChat": {"id": "0", "data": [Q, A]},
    "UltraChat 200k": {"prompt": Q, "prompt_id": "1", "messages": [USER, GOOD]},
    "LIMA": {"conversations": [Q, A], "source": "x"},
    "DailyDialog": {"dialog": [Q, A], "act": [1, 2]},
    "dialogue": {"dialogue": [USER, GOOD]},
    "Tulu": {"dataset": "x", "id": "1", "messages": [USER, GOOD]},
    "Capybara": {"source": "x", "conversation": [{"input": Q, "output": A}]},
    "COIG": {"instruction": Q, "input": "", "output": A, "task_type": {"major": ["x"]}},
    "OpenHermes": {"conversations": [HUMAN, GPT], "system_prompt": None, "title": None},
    "SlimOrca": {"conversations": [{**HUMAN, "weight": None}, {**GPT, "weight": None}]},
    "Magpie": {"instruction": Q, "response": A, "conversations": [HUMAN, GPT]},
    "Guanaco": {"text": f"### Human: {Q}### Assistant: {A}"},
    "Alpaca, written": {
        "text": f"Below is an instruction that describes a task.\n\n### Instruction:\n{Q}\n\n"
        f"### Response:\n{A}"
    },
    "Llama 2": {"text": f"<s>[INST] {Q} [/INST] {A} </s>"},
    "Mistral": {"text": f"[INST] {Q} [/INST] {A}</s>"},
    "trl, prompt and completion": {"prompt": [USER], "completion": [GOOD]},
    "HelpSteer": {"prompt": Q, "response": A, "helpfulness": 4},
    "Parquet's nulls": {"messages": [{**USER, "tool_calls": None, "name": None}, GOOD]},
}


@pytest.mark.parametrize("name", PUBLIC)
def test_public_data_sets_become_conversations(name: str) -> None:
    made = converted(PUBLIC[name])
    assert made["conversations"] == CHAT["conversations"]
    assert list(PROBLEMS["conversations"](made)) == []


def test_what_stands_beside_a_question_is_kept() -> None:
    dolly = {"instruction": "Who?", "context": "It was Ann.", "response": "Ann"}
    assert converted(dolly) == chat("Who?\nIt was Ann.", "Ann")
    squad = {
        "context": "It was Ann.",
        "question": "Who?",
        "answers": {"text": ["Ann", "It was Ann"], "answer_start": [7, 0]},
        "title": "x",
    }
    assert converted(squad) == chat("It was Ann.\n\nWho?", "Ann", title="x")
    no_answer = {**squad, "answers": {"text": [], "answer_start": []}}
    assert converted(no_answer) == "nothing to learn before an empty turn"
    orca = {"system_prompt": "Be kind.", "question": Q, "response": A}
    assert converted(orca) == SYSTEM
    assert converted({"conversations": [HUMAN, GPT], "system": "Be kind."}) == SYSTEM
    llama = {"text": f"<s>[INST] <<SYS>>\nBe kind.\n<</SYS>>\n\n{Q} [/INST] {A} </s>"}
    assert converted(llama) == SYSTEM
    loss = {"messages": [USER, {**GOOD, "weight": 0}, USER, {**GOOD, "weight": 1}]}
    weights = [message.get("weight") for message in converted(loss)["conversations"]]
    assert weights == [None, 0, None, 1]


PREFERENCES: dict[str, dict[str, Any]] = {
    "trl, messages": {"prompt": [USER], "chosen": [GOOD], "rejected": [WORSE]},
    "trl, texts": {"prompt": Q, "chosen": A, "rejected": BAD},
    "trl, implicit prompt": {"chosen": [USER, GOOD], "rejected": [USER, WORSE]},
    "hh-rlhf": {
        "chosen": f"\n\nHuman: {Q}\n\nAssistant: {A}",
        "rejected": f"\n\nHuman: {Q}\n\nAssistant: {BAD}",
    },
    "hh-rlhf, with a prompt": {
        "prompt": f"\n\nHuman: {Q}\n\nAssistant:",
        "chosen": A,
        "rejected": BAD,
    },
    "UltraFeedback": {
        "prompt": Q,
        "prompt_id": "1",
        "chosen": [USER, GOOD],
        "rejected": [USER, WORSE],
        "messages": [USER, GOOD],
        "score_chosen": 8.5,
    },
    "LlamaFactory, ShareGPT": {
        "conversations": [HUMAN],
        "chosen": GPT,
        "rejected": {"from": "gpt", "value": BAD},
    },
    "LlamaFactory, Alpaca": {"instruction": Q, "input": "", "chosen": A, "rejected": BAD},
    "Intel's": {"system": "", "question": Q, "chosen": A, "rejected": BAD},
    "Stack Exchange": {"question": Q, "response_j": A, "response_k": BAD},
    "PKU-SafeRLHF": {
        "prompt": Q,
        "response_0": BAD,
        "response_1": A,
        "is_response_0_safe": False,
        "better_response_id": 1,
    },
    "SHP": {"history": Q, "human_ref_A": A, "human_ref_B": BAD, "labels": 1},
    "SHP, of a table": {"history": Q, "human_ref_A": BAD, "human_ref_B": A, "labels": "0"},
    "Chatbot Arena": {
        "conversation_a": [USER, WORSE],
        "conversation_b": [USER, GOOD],
        "winner": "model_b",
    },
    "Etude's": PAIR,
}


@pytest.mark.parametrize("name", PREFERENCES)
def test_preferences_become_their_good_answer_or_pairs(name: str) -> None:
    assert converted(PREFERENCES[name])["conversations"] == CHAT["conversations"]
    pair = converted(PREFERENCES[name], "preference")
    assert {key: pair[key] for key in PAIR} == PAIR
    assert kind_of(pair) == "preference"
    assert list(PROBLEMS["preference"](pair)) == []
    assert "messages" not in pair


LABELLED: dict[str, dict[str, Any]] = {
    "messages": {"messages": [USER, GOOD]},
    "trl, texts": {"prompt": Q, "completion": A},
    "trl, messages": {"prompt": [USER], "completion": [GOOD]},
    "ShareGPT": {"conversations": [HUMAN, GPT]},
    "Alpaca": {"instruction": Q, "output": A},
}


@pytest.mark.parametrize("name", LABELLED)
@pytest.mark.parametrize("key", ["label", "kto_tag"])
def test_an_answer_that_is_labelled_as_bad_is_none_to_learn(name: str, key: str) -> None:
    good, bad = ({**LABELLED[name], key: label} for label in (True, False))
    assert converted(good)["conversations"] == CHAT["conversations"]
    assert converted(bad) == "an answer that is labelled as bad"
    for record, label in ((good, True), (bad, False)):
        kept = converted(record, "preference")
        assert kept == {**CHAT, "label": label}
        assert list(PROBLEMS["preference"](kept)) == []
    assert list(PROBLEMS["conversations"]({**CHAT, "label": False}))
    assert converted(LABELLED[name], "preference") == "no preference in it"
    for said in (1, "True", "true", 3):
        assert converted({**LABELLED[name], key: said})["conversations"] == CHAT["conversations"]
    for spelled in (0, "False", "0"):
        assert converted({**LABELLED[name], key: spelled}) == "an answer that is labelled as bad"


def test_the_class_of_a_text_is_no_label_of_an_answer() -> None:
    for label in (0, False):
        assert converted({"text": "A film.", "label": label}) == {"text": "A film.", "label": label}


def test_preferences_that_teach_nothing_are_dropped_by_name() -> None:
    for record, reason in (
        ({"prompt": Q, "chosen": A, "rejected": f" {A}\n"}, "chosen and rejected are the same"),
        (
            {"chosen": [USER, GOOD], "rejected": [{**USER, "content": "?"}, WORSE]},
            "chosen and rejected part before the last answer",
        ),
        ({"prompt": Q, "chosen": "", "rejected": A}, "nothing to learn before an empty turn"),
        (
            {"prompt": Q, "chosen": A, "rejected": ""},
            "rejected: nothing to learn before an empty turn",
        ),
        (
            {"conversation_a": [USER, GOOD], "conversation_b": [USER, WORSE], "winner": "tie"},
            "no answer is said to be better",
        ),
        ({"prompt": Q, "chosen": [USER], "rejected": [USER]}, None),
    ):
        found = converted(record, "preference")
        assert found == reason if reason else isinstance(found, str)


IMAGE = {"type": "image_url", "image_url": {"url": "a.jpg"}}


@pytest.mark.parametrize(
    "record",
    [
        {"image": "a.jpg", "conversations": [{"from": "human", "value": f"<image>\n{Q}"}, GPT]},
        {"images": ["a.jpg"], "messages": [USER, GOOD]},
        {"images": [{"bytes": "<2 bytes>"}], "instruction": Q, "output": A},
        {"messages": [{**USER, "content": [IMAGE, {"type": "text", "text": Q}]}, GOOD]},
        {"messages": [{**USER, "content": [{"type": "image"}, {"type": "text", "text": Q}]}, GOOD]},
        {"messages": [{**USER, "content": [{"type": "input_image", "image_url": "a"}]}, GOOD]},
        {"conversations": [{"from": "human", "value": [{"type": "image", "value": "a"}]}, GPT]},
        {"prompt": [{**USER, "content": [IMAGE]}], "chosen": [GOOD], "rejected": [WORSE]},
        {"videos": ["a.mp4"], "messages": [USER, GOOD]},
        {"messages": [USER, GOOD, {**USER, "content": [IMAGE]}, GOOD]},
        {"conversations": [{"from": "human", "value": f"{Q}\n<image>"}, GPT]},
        {"messages": [{**USER, "content": f"Picture 1: <img>a.jpg</img>\n{Q}"}, GOOD]},
    ],
)
def test_conversations_with_pictures_are_dropped_as_such(record: dict[str, Any]) -> None:
    assert converted(record) == "has pictures"


def test_parts_of_text_are_joined_under_either_key_and_empty_pictures_are_none() -> None:
    parts = [{"type": "text", "value": Q}, {"type": "text", "text": "Quick!"}]
    record = {"conversations": [{"from": "human", "value": parts}, GPT], "image": None}
    assert converted(record)["conversations"] == chat(f"{Q}\nQuick!", A)["conversations"]
    assert converted({"messages": [USER, GOOD], "images": []})["conversations"][0] == USER
    html = {**USER, "content": 'What is <img src="a.jpg"> and <video> in HTML?'}
    assert converted({"messages": [html, GOOD]})["conversations"][0] == html


WRITTEN: dict[str, str] = {
    "ChatML": "<|im_start|>system\nBe kind.<|im_end|>\n<|im_start|>user\n"
    f"{Q}<|im_end|>\n<|im_start|>assistant\n{A}<|im_end|>\n",
    "Llama 3": "<|begin_of_text|><|start_header_id|>system<|end_header_id|>\n\nBe kind.<|eot_id|>"
    f"<|start_header_id|>user<|end_header_id|>\n\n{Q}<|eot_id|><|start_header_id|>assistant"
    f"<|end_header_id|>\n\n{A}<|eot_id|>",
    "Gemma": "<bos><start_of_turn>system\nBe kind.<end_of_turn>\n<start_of_turn>user\n"
    f"{Q}<end_of_turn>\n<start_of_turn>model\n{A}<end_of_turn>\n",
    "Zephyr": f"<|system|>\nBe kind.</s>\n<|user|>\n{Q}</s>\n<|assistant|>\n{A}</s>",
    "Phi": f"<s><|system|>\nBe kind.<|end|>\n<|user|>\n{Q}<|end|>\n<|assistant|>\n{A}<|end|>",
    "GLM": f"[gMASK]<sop><|system|>\nBe kind.<|user|>\n{Q}<|assistant|>\n{A}",
}


@pytest.mark.parametrize("name", WRITTEN)
def test_conversations_that_were_written_out_are_read_in_every_form(name: str) -> None:
    assert converted({"text": WRITTEN[name]}) == SYSTEM


def test_vicunas_form_is_read_and_a_text_with_a_mark_in_it_stays_a_text() -> None:
    head = "A chat between a curious user and an assistant. The assistant is kind. "
    assert converted({"text": f"USER: {Q} ASSISTANT: {A}</s>"}) == CHAT
    assert converted({"text": f"{head}USER: {Q} ASSISTANT: {A}</s>USER: Ok? ASSISTANT: Yes"}) == {
        "conversations": [*CHAT["conversations"], *chat("Ok?", "Yes")["conversations"]]
    }
    for text in ("The sign <|user|> begins a turn.", "The USER: a play. ASSISTANT: no."):
        assert converted({"text": text}) == {"text": text}


def test_what_was_asked_before_a_question_stands_before_it() -> None:
    record = {"query": Q, "response": A, "history": [["Hi", "Hello"]]}
    earlier = chat("Hi", "Hello")["conversations"]
    assert converted(record) == {"conversations": [*earlier, *CHAT["conversations"]]}


def test_an_answer_under_the_key_of_texts_is_no_text_in_silence() -> None:
    assert formats_of({"input": Q, "content": A}) == ["question", "text"]
    assert formats_of({"content": A, "title": Q}) == ["text"]


@pytest.mark.parametrize(
    ("record", "sentence"),
    [
        ({"instruction": Q, "output": {"text": A}}, '"output" is an object, and must be a text'),
        ({"instruction": [Q], "output": A}, '"instruction" is a list, and must be a text'),
        ({"question": Q, "answer": 2}, '"answer" is a int, and must be a text'),
        ({"text": {"en": "a"}}, '"text" is an object, and must be a text'),
        ({"messages": "Hi"}, '"messages" is a text, and must be a list of messages'),
        ({"instruction": Q, "output": None}, '"output" is null, and must be a text'),
        ({"data": [{"text": "a"}, {"text": "b"}]}, 'the key "data" holds 2 objects'),
    ],
)
def test_a_key_that_holds_something_else_is_named(
    record: dict[str, Any], sentence: str, tmp_path: Path
) -> None:
    path = write(tmp_path / "a.jsonl", [record])
    ran = run("convert", path)
    assert ran.code == 2
    assert f"{path}:1: " in ran.err
    assert sentence in ran.err
    good = write(tmp_path / "b.jsonl", [{"instruction": Q, "output": A}, record])
    if "instruction" in record:
        assert f"{good}:2: it must have a text under" in run("convert", good).err


@pytest.mark.parametrize(
    ("kind", "record", "sentence"),
    [
        ("conversations", {**CHAT, "system": "Be kind."}, '"system" stands beside the turns'),
        ("conversations", {**CHAT, "image": "a.jpg"}, "pictures and sounds cannot be trained on"),
        ("conversations", {**CHAT, "tools": [{"name": "f"}]}, "tool 1 must be"),
        ("conversations", {**CHAT, "tools": "[{}]"}, "bring it in with process_jsonl.py convert"),
        ("conversations", {"conversations": [{**USER, "name": "Ann"}, GOOD]}, "the key 'name'"),
        (
            "conversations",
            {"conversations": [USER, {**GOOD, "tool_calls": [{}]}]},
            "message 2 has a call that is not",
        ),
        (
            "conversations",
            {"messages": [USER, {"role": "tool", "content": "1"}]},
            "message 2 has the role tool, but assistant is due: calls of tools are followed by",
        ),
        (
            "conversations",
            {"messages": [USER, {**GOOD, "tool_calls": [{"function": {"name": "f"}}]}, USER]},
            "message 3 has the role user, but tool is due",
        ),
        (
            "conversations",
            {"messages": [USER, {**GOOD, "tool_calls": [BAD_CALL]}]},
            "calls 'f', but the arguments of a call must be a JSON object",
        ),
        (
            "conversations",
            {"messages": [{**USER, "reasoning_content": "T"}, GOOD]},
            "message 1 has reasoning_content, which only the assistant's turns can have",
        ),
        ("conversations", {"messages": [USER, {**GOOD, "function_call": {}, "x": 1}]}, "key 'x'"),
        ("conversations", {"messages": [USER, {**GOOD, "weight": 0.5}]}, "weight 0.5"),
        ("conversations", {**CHAT, "label": False}, "a preference, no conversation to learn"),
        ("conversations", PAIR, "a preference, no conversation to learn"),
        ("conversations", {"text": "a"}, "texts are for train_pretrain.py"),
        ("text", CHAT, "conversations are for train_sft.py"),
        ("preference", {**PAIR, "chosen": [GOOD]}, '"chosen" must be an answer'),
        ("preference", {**PAIR, "rejected": A}, "are the same"),
        ("preference", {**PAIR, **CHAT}, "must end with a user's"),
        ("preference", {"conversations": [USER], "label": True}, "must be the last turn"),
    ],
)
def test_what_training_would_pass_over_is_refused_by_name(
    kind: Kind, record: dict[str, Any], sentence: str
) -> None:
    assert any(sentence in problem for problem in PROBLEMS[kind](record))


def test_what_says_nothing_is_no_mistake() -> None:
    empty: dict[str, Any] = {"name": None, "tool_calls": [], "weight": None, "refusal": ""}
    record = {"messages": [{**USER, **empty}, {**GOOD, **empty, "weight": 0}], "tools": []}
    assert list(PROBLEMS["conversations"](record)) == []


def test_messages_are_read_as_conversations_wherever_these_are(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", [{"messages": [USER, GOOD]}])
    assert list(read_conversations(path)) == [(1, Conversation(CHAT["conversations"]))]
    checked = run("check", path, "--workers", 1)
    assert checked.code == 0
    assert f"{path}: checked as conversations" in checked.out
    script = Path(__file__).parents[3] / "data_process" / "dedup_jsonl.py"
    output = tmp_path / "out.jsonl"
    assert run(path, "--output", output, "--workers", 1, script=script).code == 0
    assert read(output) == [{"messages": [USER, GOOD]}]


@pytest.mark.parametrize(
    ("record", "name", "folder"),
    [
        ({"conversations": [HUMAN, GPT]}, "sharegpt", "sft"),
        ({"instruction": Q, "output": A}, "alpaca", "sft"),
        ({"prompt": Q, "completion": A}, "question", "sft"),
        ({"prompt": Q, "chosen": A, "rejected": BAD}, "preference", "sft"),
        ({"content": "Once."}, "text", "pretrain"),
    ],
)
def test_foreign_data_is_recognised_with_the_command_that_converts_it(
    record: dict[str, Any], name: str, folder: str, tmp_path: Path
) -> None:
    path = write(tmp_path / "a.jsonl", [record] * 3)
    output = f"training_data/{folder}/a.jsonl"
    command = f"data_process/process_jsonl.py convert {path} --output {output}"
    for reader in (read_conversations, read_texts):
        with pytest.raises(UserError) as refused:
            list(reader(path))
        assert str(refused.value).startswith(f"{path}:1: this is {name}, ")
        assert command in str(refused.value)
    ran = run("check", path)
    assert ran.code == 1
    assert ran.out.startswith(f"{path}:1: this is {name}, ")
    assert command in ran.out


@pytest.mark.parametrize(
    ("flags", "reason"),
    [
        (("convert",), "labelled as bad (2)"),
        (("convert", "--output", "out.jsonl"), "labelled as bad (2)"),
        (("filter", "--min_characters", 500), "fewer than 500 characters (2)"),
        (("filter", "--min_characters", 500, "--output", "out.jsonl"), "500 characters (2)"),
        (("cut", "--size", "1B", "--output", "out.jsonl"), "nothing is left"),
        (("sample", "--share", "1e-9", "--output", "out.jsonl"), "nothing is left"),
    ],
)
def test_a_command_that_leaves_nothing_fails_with_the_reason_and_writes_no_output(
    flags: tuple[object, ...], reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    path = write(tmp_path / "a.jsonl", [{**CHAT, "label": False}] * 2)
    rejects = flags[0] in ("convert", "filter")
    more = ("--rejected", "rejected.jsonl") if rejects else ()
    ran = run(flags[0], path, *flags[1:], *more)
    assert ran.code == 2
    assert reason in ran.err
    assert not (tmp_path / "out.jsonl").exists()
    assert not rejects or len(read(tmp_path / "rejected.jsonl")) == 2
    before = write(tmp_path / "out.jsonl", [CHAT])
    assert run(flags[0], path, *flags[1:], *more, "--overwrite").code == 2
    assert read(before) == [CHAT]


def test_a_format_that_was_named_wrongly_says_what_is_missing() -> None:
    with pytest.raises(BadLine, match="chosen and rejected"):
        list(converter("preference")({"a": 1}))
    with pytest.raises(BadLine, match="no conversation"):
        list(converter("written")({"text": "a"}))
    assert json.dumps(CHAT)
