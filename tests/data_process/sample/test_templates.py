"""The text files of the sample: what a template gives, and that a mistake is named by its line."""

import random
from pathlib import Path

import pytest

from config import UserError
from data_process.sample import templates
from data_process.sample.build import build_sample, read_amounts
from data_process.sample.templates import LANGUAGES, TEXTS, Template, TextFile

FILES = sorted(path.name for path in TEXTS.glob("*.txt"))


def read(folder: Path, *lines: str) -> TextFile:
    path = folder / "some.txt"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return TextFile(path)


def refusal(folder: Path, *lines: str) -> str:
    """What is said of a file with one mistake, without the folder."""
    with pytest.raises(UserError) as error:
        read(folder, *lines)
    return str(error.value).removeprefix(f"{folder}/")


def test_a_template_chooses_and_fills_in_every_form_of_a_value() -> None:
    template = Template("{Kind}, {a_kind}, {A_kind}: [{name}|{name}]! {answer_}", "some.txt:1")
    values = {"kind": "owl", "name": "Mira", "answer": "It is."}
    assert template.fill(values, random.Random(1)) == "Owl, an owl, An owl: Mira! It is,"


def test_sections_tables_and_empty_entries_are_read(tmp_path: Path) -> None:
    lines = ("# about", "== a ==", "one", "", "-", "# note", "== b ==", "x | y", "1 | -")
    file = read(tmp_path, *lines)
    assert file.lines("a") == ["one", ""]
    assert file.table("b", "x") == [{"x": "1", "y": ""}]


@pytest.mark.parametrize(
    ("lines", "place", "named"),
    [
        (["word"], "some.txt:1: ", "== name =="),
        (["== a ==", "x", "== a ==", "y"], "some.txt:3: ", "some.txt:1"),
        (["== a ==", "", "== b ==", "y"], "some.txt:1: ", '"a"'),
        (["== a ==", "x", "Hello {nmae}"], "some.txt:3: ", "{nmae}"),
        (["== placeholders ==", "name"], "some.txt:2: ", "{name}"),
        (["== a ==", "[x|y"], "some.txt:2: ", "["),
        (["== a ==", "x}"], "some.txt:2: ", "}"),
    ],
)
def test_a_malformed_file_is_refused_with_its_line(
    tmp_path: Path, lines: list[str], place: str, named: str
) -> None:
    message = refusal(tmp_path, *lines)
    assert message.startswith(place)
    assert named in message.removeprefix(place)


def test_a_section_of_another_form_is_refused_with_its_line(tmp_path: Path) -> None:
    file = read(tmp_path, "== a ==", "x | y", "1", "2 | 3", "== b ==", "x | y", "many | 2")
    for call, line, named in (
        (lambda: file["c"], 8, "== c =="),
        (lambda: file.names("plot: "), 8, "plot: "),
        (lambda: file.one("a"), 1, "3"),
        (lambda: file.table("a"), 3, "x | y"),
        (lambda: file.table("b", "z"), 6, '"z"'),
        (lambda: file.table("b")[0].count("x"), 7, "many"),
    ):
        with pytest.raises(UserError, match=rf"some\.txt:{line}: ") as error:
            call()
        assert named in str(error.value)


def test_a_placeholder_without_a_value_is_refused_with_its_line() -> None:
    with pytest.raises(UserError, match=r"some\.txt:4: .*\{name\}"):
        Template("Hello {kind}", "some.txt:4").fill({"name": "Mira"})
    with pytest.raises(UserError, match=r"some\.txt:4: "):
        Template("[Hello|Hi]", "some.txt:4").fill({})  # a choice where nothing can choose


def test_an_unknown_kind_in_the_amounts_is_refused_with_its_line(tmp_path: Path) -> None:
    lines = templates.AMOUNTS.read_text(encoding="utf-8").split("\n")
    number = next(n for n, line in enumerate(lines, 1) if line.startswith("quizzes |"))
    lines[number - 1] = "quizes | 900 | 850"
    path = tmp_path / "amounts.txt"
    path.write_text("\n".join(lines), encoding="utf-8")
    with pytest.raises(UserError, match=rf"amounts\.txt:{number}: quizes .*quizzes"):
        read_amounts(path=path)


@pytest.mark.parametrize("name", [name for name in FILES if name != "amounts.txt"])
def test_the_sample_names_the_file_that_lacks_a_section(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first section but "placeholders" of each file is renamed."""
    for path in TEXTS.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    text = (tmp_path / name).read_text(encoding="utf-8")
    first = next(iter(TextFile(TEXTS / name).sections))
    text = text.replace(f"== {first} ==", "== another ==")
    (tmp_path / name).write_text(text, encoding="utf-8")
    monkeypatch.setattr(templates, "TEXTS", tmp_path)
    templates.language.cache_clear()
    templates.world.cache_clear()
    try:
        with pytest.raises(UserError, match=rf"{name}:\d+: .*{first}"):
            build_sample(read_amounts(0.05), 1)
    finally:
        templates.language.cache_clear()
        templates.world.cache_clear()


def test_every_text_file_explains_itself_and_is_used() -> None:
    subjects = ("facts", "chat", "stories", "prose", "names", "tools")
    named = {f"{code}_{subject}.txt" for code in LANGUAGES for subject in subjects}
    assert set(FILES) == named | {"world.txt", "amounts.txt", "messages.txt"}
    for name in FILES:
        assert (TEXTS / name).read_text(encoding="utf-8").startswith("# ")
