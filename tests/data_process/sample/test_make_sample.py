"""The built-in sample: what is held out, what is balanced, and whether it reads well."""

import itertools
import json
import random
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from data_process.records.kinds import PROBLEMS
from data_process.sample.build import (
    EVAL_FILE,
    PRETRAIN_FILE,
    RL_FILE,
    SFT_FILE,
    build_sample,
    read_amounts,
    to_bytes,
    to_jsonl,
)
from data_process.sample.conversations import ConversationWriter
from data_process.sample.evaluation import is_right, occurs
from data_process.sample.questions import Holdout, all_names, make_holdout
from data_process.sample.templates import world

ROOT = Path(__file__).resolve().parents[3]
SCRIPT = ROOT / "data_process" / "make_sample.py"
SEED = 1
Record = dict[str, Any]
Messages = list[dict[str, str]]
Sample = dict[Path, list[Record]]
HAN = re.compile(r"[\u4e00-\u9fff]")
LATIN_WORD = re.compile(r"[A-Za-z]{2,}")
ARITHMETIC = (  # every way in which the sample writes an operation, as (first, second) operand
    ("+", r"(\d+) (?:\+|plus|加上|加) (\d+)"),
    ("+", r"[Aa]dd (\d+) and (\d+)"),
    ("+", r"(\d+) 与 (\d+) 的和"),
    ("+", r"(\d+) 再加 (\d+)"),
    ("+", r"(\d+) 与 (\d+) 加在一起"),
    ("+", r"(\d+) and (\d+) make"),
    ("-", r"(\d+) 与 (\d+) 的差"),
    ("+", r"sum of (\d+) and (\d+)"),
    ("+", r"(\d+) [a-z]+ and get (\d+)"),
    ("+", r"(\d+) [a-z]+ on the table\. With (\d+)"),
    ("+", r"有 (\d+) 个[^。]*?(?:又来了|又得到) (\d+)"),
    ("-", r"(\d+) (?:-|minus|减去|减) (\d+)"),
    ("-", r"(\d+) [a-z]+ and give away (\d+)"),
    ("-", r"(\d+) [a-z]+ in the basket\. Take (\d+)"),
    ("-", r"有 (\d+) 个[^。]*?(?:拿走|吃掉) (\d+)"),
)
SWAPPED = r"(?:[Tt]ake|[Ss]ubtract) (\d+) (?:away )?from (\d+)"


@pytest.fixture(scope="module")
def sample() -> Sample:
    return build_sample(read_amounts(), SEED)


@pytest.fixture(scope="module")
def texts(sample: Sample) -> list[str]:
    return [record["text"] for record in sample[PRETRAIN_FILE]]


@pytest.fixture(scope="module")
def conversations(sample: Sample) -> list[Messages]:
    return [record["conversations"] for record in sample[SFT_FILE]]


@pytest.fixture(scope="module")
def questions(sample: Sample) -> list[Record]:
    return sample[EVAL_FILE]


@pytest.fixture(scope="module")
def holdout() -> Holdout:
    return make_holdout(random.Random(f"split {SEED}"))


@pytest.fixture(scope="module")
def everything(texts: list[str], conversations: list[Messages]) -> str:
    return "\n".join(texts + [m["content"] for c in conversations for m in c])


def language(text: str) -> str:
    """The language of a text that may quote single words of the other one."""
    return "zh" if len(HAN.findall(text)) > len(LATIN_WORD.findall(text)) * 1.5 else "en"


def run_script(*arguments: object, cwd: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(SCRIPT), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, encoding="utf-8", cwd=cwd)


# The files.


def test_same_seed_gives_the_same_bytes_whatever_the_hash_order(tmp_path: Path) -> None:
    small = read_amounts(0.02)
    here = {str(path): to_bytes(path, found) for path, found in build_sample(small, 5).items()}
    result = run_script("--seed", 5, "--size", 0.02, "--output_dir", tmp_path, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    there = {str(p.relative_to(tmp_path)): p.read_bytes() for p in tmp_path.rglob("*.json*")}
    assert here == there
    other = build_sample(small, 6)
    assert to_jsonl(other[PRETRAIN_FILE]) != there[str(PRETRAIN_FILE)]


def test_script_refuses_to_replace_other_content_and_accepts_its_own(tmp_path: Path) -> None:
    arguments = ("--size", 0.01, "--output_dir", tmp_path)
    assert run_script(*arguments, cwd=tmp_path).returncode == 0
    again = run_script(*arguments, cwd=tmp_path)
    assert again.returncode == 0
    assert again.stdout.count("already there") == 10
    (tmp_path / SFT_FILE).write_text("mine\n", encoding="utf-8")
    refused = run_script(*arguments, cwd=tmp_path)
    assert refused.returncode != 0
    assert "--overwrite" in refused.stderr
    assert str(tmp_path / SFT_FILE) in refused.stderr
    assert "Traceback" not in refused.stderr
    assert (tmp_path / SFT_FILE).read_text(encoding="utf-8") == "mine\n"
    assert run_script(*arguments, "--overwrite", cwd=tmp_path).returncode == 0
    assert (tmp_path / SFT_FILE).read_text(encoding="utf-8") != "mine\n"
    assert not list(tmp_path.rglob("*.tmp"))


@pytest.mark.parametrize("size", ["0", "nan", "inf"])
def test_an_impossible_size_is_refused(size: str, tmp_path: Path) -> None:
    result = run_script("--size", size, "--output_dir", tmp_path, cwd=tmp_path)
    assert result.returncode != 0
    assert f"size is {float(size)}" in result.stderr
    assert "Traceback" not in result.stderr


def test_files_have_the_promised_size_and_balance(
    sample: Sample, texts: list[str], conversations: list[Messages]
) -> None:
    assert 8_000_000 < len(to_jsonl(sample[PRETRAIN_FILE])) < 10_000_000
    english = sum(len(text.encode()) for text in texts if language(text) == "en")
    assert 0.5 < english / sum(len(text.encode()) for text in texts) < 0.6
    content = sum(len(m["content"].encode()) for c in conversations for m in c)
    assert 20_000 <= len(conversations) <= 30_000
    assert 2_400_000 < content < 4_000_000
    chinese = sum(language(c[-2]["content"]) == "zh" for c in conversations)
    assert 0.4 < chinese / len(conversations) < 0.6


# What is held out.


def test_held_out_questions_are_not_in_the_training_files(
    texts: list[str], conversations: list[Messages], questions: list[Record]
) -> None:
    asked = {m["content"] for c in conversations for m in c if m["role"] == "user"}
    pairs = {(c[0]["content"], c[1]["content"]) for c in conversations}
    told = "\n".join(texts)
    for item in questions:
        prompts = [m["content"] for m in item["messages"] if m["role"] == "user"]
        if item["category"] == "memory":
            assert prompts[0] not in asked, item["id"]
        elif item["messages"][0]["role"] == "system" and len(item["accepted"][0]) == 1:
            system = item["messages"][0]["content"]
            assert (system, prompts[-1]) not in pairs, item["id"]
        else:
            assert prompts[-1] not in asked, item["id"]
            if len(prompts[-1]) > 12 and item["category"] != "greeting":
                assert prompts[-1] not in told, item["id"]


def test_the_prompts_of_reinforcement_learning_are_training_questions_only(
    sample: Sample, conversations: list[Messages], questions: list[Record], holdout: Holdout
) -> None:
    prompts = sample[RL_FILE]
    assert 2_000 < len(prompts) < 4_000
    assert [found for record in prompts for found in PROBLEMS["rl"](record)] == []
    held = {question.prompt for some in holdout.held_questions.values() for question in some}
    held |= {item["messages"][-1]["content"] for item in questions if item["category"] == "story"}
    asked = {m["content"] for c in conversations for m in c if m["role"] == "user"}
    trained = [*holdout.questions.values(), *holdout.further_questions.values()]
    known = {q.prompt for some in trained for q in some} | asked
    exams = [item["messages"] for item in questions]
    fresh = {name for names in holdout.held_names.values() for name in names}
    statements = {e[0]["content"] for e in exams if len(e) > 2 and e[0]["role"] == "user"}
    single = 0
    for record in prompts:
        turns = [m for m in record["conversations"] if m["role"] == "user"]
        assert record["conversations"] not in exams
        assert not {turn["content"] for turn in turns} & held
        assert turns[0]["content"] not in statements
        single += turns[-1]["content"] in known
    assert single > 0.9 * len(prompts)
    text = "\n".join(json.dumps(record, ensure_ascii=False) for record in prompts)
    words = set(LATIN_WORD.findall(text))
    assert not {name for name in fresh if name.isascii()} & words
    chinese = {name for name in fresh if not name.isascii()}
    answers = {answer for record in prompts for answer in map(str, record["answers"])}
    assert not chinese & answers
    for operator, pattern in ARITHMETIC:
        for a, b in re.findall(pattern, text):
            assert (int(a), operator, int(b)) not in holdout.held_triples
    for story in (record for record in prompts if "min_characters" in record.get("rule", {})):
        kind, name = story["answers"][0]
        assert all((kind, name) not in some for some in holdout.held_stories.values())


def test_held_out_names_are_nowhere_in_the_training_files(
    questions: list[Record], everything: str, holdout: Holdout
) -> None:
    known = {name for names in holdout.names.values() for name in names}
    fresh = 0
    for item in questions:
        if item["category"] in ("greeting", "memory", "story", "system"):
            for name in item["accepted"][0]:
                if name in all_names("en") + all_names("zh") and name not in known:
                    fresh += 1
                    assert name not in everything, name
    assert fresh >= 3 * 16


def test_what_is_for_training_alone_is_not_held_out(holdout: Holdout) -> None:
    assert set(holdout.further_questions) <= set(holdout.questions)
    for key, further in holdout.further_questions.items():
        held = {question.prompt for question in holdout.held_questions[key]}
        assert not held & {question.prompt for question in further}
    for code, names in holdout.further_names.items():
        assert len(names) > 500
        assert not [name for name in names if any(h in name for h in holdout.held_names[code])]
    triples = [triple for some in holdout.further.values() for triple in some]
    assert not set(triples) & set(holdout.held_triples)


def test_no_training_question_comes_again_before_all_have_come(holdout: Holdout) -> None:
    writer = ConversationWriter(holdout, "en", random.Random(1))
    pool = holdout.training_questions("capital", "en")
    drawn = [writer.question("capital").prompt for _ in pool]
    assert sorted(drawn) == sorted(question.prompt for question in pool)


def test_held_out_sums_are_nowhere_but_their_relatives_are(
    everything: str, holdout: Holdout
) -> None:
    found: Counter[tuple[int, str, int]] = Counter()
    for operator, pattern in ARITHMETIC:
        for a, b in re.findall(pattern, everything):
            found[int(a), operator, int(b)] += 1
    for b, a in re.findall(SWAPPED, everything):
        found[int(a), "-", int(b)] += 1
    for a, operator, b in holdout.held_triples:
        assert found[a, operator, b] == 0, (a, operator, b)
        relatives = [(b, "+", a), (a + b, "-", a), (a + b, "-", b)]
        assert all(found[relative] > 20 for relative in relatives)
    assert len(holdout.held_triples) / 162 == pytest.approx(0.1, abs=0.01)
    assert min(found[triple] for triple in holdout.triples) > 20


def test_no_sentence_holds_the_numbers_of_a_held_out_sum(everything: str, holdout: Holdout) -> None:
    held = {(a, b, a + b if op == "+" else a - b) for a, op, b in holdout.held_triples}
    for sentence in re.split(r"[.?!。？！\n]", everything):
        numbers = tuple(int(number) for number in re.findall(r"\d+", sentence))
        for start in range(len(numbers) - 2):
            assert numbers[start : start + 3] not in held, sentence


def test_held_out_story_pairs_are_not_told(
    conversations: list[Messages], texts: list[str], questions: list[Record]
) -> None:
    openings = [c[-1]["content"] for c in conversations] + texts
    for item in questions:
        if item["category"] == "story":
            kind, name = item["accepted"][0]
            pattern = re.compile(rf"{kind} (?:named|called) {name}\b|{kind}，?(?:名叫|叫){name}")
            assert not any(pattern.search(text) for text in openings), item["id"]


def test_every_entity_and_template_of_a_held_out_question_is_trained(holdout: Holdout) -> None:
    for key, held in holdout.held_questions.items():
        facts = Counter(question.fact.key for question in holdout.questions[key])
        for question in held:
            relatives = 1 if key[0] == "arithmetic" else facts[question.fact.key]
            assert relatives >= (1 if key[0] in ("arithmetic", "greeting") else 5)


# The eval file.


def test_every_reference_answer_passes_its_own_check(questions: list[Record]) -> None:
    for item in questions:
        assert is_right(item, item["reference"]), item


def test_wrong_and_evasive_answers_fail(questions: list[Record]) -> None:
    for item in questions:
        question = item["messages"][-1]["content"]
        wrong = (
            "",
            "I do not know.",
            "我不知道。",
            question if item["category"] == "story" else "",
        )
        assert not any(is_right(item, answer) for answer in wrong), item["id"]
    by_category: dict[tuple[str, str], list[Record]] = {}
    for item in questions:
        by_category.setdefault((item["category"], item["language"]), []).append(item)
    for (category, _), items in by_category.items():
        if category in ("capital", "colour", "opposite", "arithmetic", "translation"):
            swapped = zip(items, items[1:] + items[:1], strict=True)
            passed = sum(is_right(item, other["reference"]) for item, other in swapped)
            assert passed <= len(items) * 0.4, category  # some share an answer, such as "green"


def test_strings_occur_only_at_word_borders_but_chinese_anywhere() -> None:
    assert occurs("7", "3 + 4 = 7.")
    assert not occurs("7", "17")
    assert occurs("7", "等于7。")
    assert occurs("paris", "It is Paris.")
    assert not occurs("is", "Paris.")
    assert occurs("巴黎", "首都是巴黎。")


def test_eval_file_has_enough_of_each_category_with_unique_ids(questions: list[Record]) -> None:
    counts = Counter((item["category"], item["language"]) for item in questions)
    for category in read_amounts().questions.keys() - {"mixed"}:
        assert counts[category, "en"] >= 15
        assert counts[category, "zh"] >= 15
    assert len({item["id"] for item in questions}) == len(questions)
    asked = [json.dumps(item["messages"], ensure_ascii=False) for item in questions]
    assert len(set(asked)) == len(asked)
    assert all(item["messages"][-1]["role"] == "user" for item in questions)


# The conversations.


def test_conversations_alternate_and_end_with_the_assistant(conversations: list[Messages]) -> None:
    for conversation in conversations:
        roles = [message["role"] for message in conversation]
        turns = roles[1:] if roles[0] == "system" else roles
        assert turns == ["user", "assistant"] * (len(turns) // 2)
        assert turns
        assert all(message["content"].strip() for message in conversation)
    assert sum(len(conversation) >= 4 for conversation in conversations) > 1_500


def test_a_question_has_one_answer_without_a_system_prompt(conversations: list[Messages]) -> None:
    answers: dict[str, set[str]] = {}
    for conversation in conversations:
        if conversation[0]["role"] == "user" and len(conversation) == 2:
            question, answer = (message["content"] for message in conversation)
            if len(answer) < 60:
                answers.setdefault(question, set()).add(answer)
    assert len(answers) > 2_000
    assert not {q: a for q, a in answers.items() if len(a) > 1}


def test_answers_are_in_the_language_of_the_question(conversations: list[Messages]) -> None:
    for conversation in conversations:
        if conversation[0]["role"] == "system":
            continue
        contents = [message["content"] for message in conversation]
        for question, answer in zip(contents[::2], contents[1::2], strict=True):
            if HAN.search(question) and HAN.search(answer) and not LATIN_WORD.search(question):
                assert language(answer) == "zh" or "英语" in answer, (question, answer)
            if not HAN.search(question) and not LATIN_WORD.search(answer):
                assert re.match(r"[\d +=.。-]+$", answer), (question, answer)


# The language.


def test_articles_and_capitals_and_spaces_are_right(everything: str) -> None:
    everything = HAN.sub("字", everything)
    assert not re.findall(r"\b[Aa] [aeio]\w+", everything)
    assert not re.findall(r"\b[Aa]n (?!hour)[^aeiouAEIOU]\w*", everything)
    assert not re.findall(r"[^ \n]  +[^ \n]| [,.?!]| $", everything.replace("= ?", "= 1"))
    assert not re.findall(
        r"\b1 (?:apples|nuts|shells|pears|stones|cakes|eggs|books|marbles)", everything
    )
    assert not re.findall(r"[{}\[\]|]", everything)
    assert not re.findall(r"[,.]\.|,,|\.,|\?[,.]", everything)


def test_english_sentences_begin_with_a_capital(texts: list[str]) -> None:
    for text in texts:
        assert text.count("\n\n") <= 2
        if not HAN.search(text):
            assert not re.findall(r'[.?!]"? [a-z]\w+', re.sub(r'[?!]" \w+ ', "", text)), text
            assert text.count('"') % 2 == 0


def test_chinese_text_has_chinese_punctuation_and_paired_quotes(texts: list[str]) -> None:
    for text in texts:
        if language(text) == "zh":
            assert not re.search(r"[\u4e00-\u9fff][,.?!;:]", text), text
            assert "。。" not in text
            assert "。，" not in text
            assert "““" not in text
            assert text.count("“") == text.count("”")
            assert text.count("‘") == text.count("’")


def test_texts_have_no_words_of_the_other_language_but_in_lists_and_quizzes(
    texts: list[str],
) -> None:
    mixed = [t for t in texts if HAN.search(t) and LATIN_WORD.search(t)]
    assert 0 < len(mixed) < 0.25 * len(texts)
    for text in mixed:
        words = LATIN_WORD.findall(text)
        known = {row["en"] for row in world().table("words")}
        for row in world().table("countries"):
            known.update(LATIN_WORD.findall(f"{row['country_en']} {row['capital_en']}"))
        if language(text) == "zh":
            assert set(words) <= known, text


def test_texts_are_long_enough_and_rarely_twice_the_same(texts: list[str]) -> None:
    assert all(35 <= len(text) <= 900 for text in texts)
    assert len(set(texts)) > 0.995 * len(texts)


def test_world_has_no_word_with_two_opposites() -> None:
    for code in ("en", "zh"):
        words = [word for row in world().table(f"opposites_{code}") for word in row.values()]
        assert len(words) == len(set(words))
        assert len(words) >= 110
    for side in ("en", "zh"):
        words = [row[side] for row in world().table("words")]
        assert len(words) == len(set(words))


def test_no_name_is_the_beginning_of_another() -> None:
    for names in (all_names("en"), all_names("zh")):
        assert len(names) == len(set(names)) > 800
        ordered = sorted(names)
        for name, following in itertools.pairwise(ordered):
            assert not following.startswith(name)
