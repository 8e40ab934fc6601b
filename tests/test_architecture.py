"""The walls of the house: who may import whom, what only scripts may do, what no file may do."""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator

from config import ROOT
from tests.source_tree import FOLDERS, Source, imports_of, is_main_guard, scripts, sources

MAY_IMPORT = {
    "config": set[str](),
    "terminal": set[str](),
    "cli": {"config", "terminal"},
    "model": {"config"},
    "data_process": {"config", "terminal", "cli", "model"},
    "train": {"config", "terminal", "cli", "model", "data_process", "inference"},
    "inference": {"config", "terminal", "cli", "model"},
    "tool": {"config", "terminal", "cli", "model", "inference", "train", "data_process"},
}
"""Folders that each folder may import beside itself. Training generates samples with the engine
that chats; a tool looks at the work of all others; nobody imports a tool."""

PATH_LINE = "sys.path.insert(0, str(Path(__file__).resolve().parents[1]))"
SOURCES = sources()
SCRIPTS = scripts()


def own_imports(source: Source) -> Iterator[tuple[str, int]]:
    """The modules of this repository that a file imports."""
    for name, line in imports_of(source).items():
        if name.split(".")[0] in MAY_IMPORT:
            yield name, line


def test_imports_go_one_way() -> None:
    wrong = [
        f"{source.name}:{line} {module}"
        for source in SOURCES
        for module, line in own_imports(source)
        if module.split(".")[0] not in MAY_IMPORT[source.package] | {source.package}
    ]
    assert wrong == []


def test_training_knows_the_engine_and_no_chat() -> None:
    wrong = [
        f"{source.name}:{line} {module}"
        for source in SOURCES
        for module, line in own_imports(source)
        if source.package == "train" and module.startswith("inference.")
        if not module.startswith("inference.engine")
    ]
    assert wrong == []


def test_nothing_imports_a_script() -> None:
    names = {script.module for script in SCRIPTS}
    wrong = [f"{s.name}:{n} {m}" for s in SOURCES for m, n in own_imports(s) if m in names]
    assert wrong == []


def test_modules_do_not_import_one_another_in_a_circle() -> None:
    known = {source.module: source for source in SOURCES}
    graph = {m: {i for i, _ in own_imports(s) if i in known and i != m} for m, s in known.items()}
    finished: set[str] = set()
    while ready := {m for m in graph if m not in finished and graph[m] <= finished}:
        finished |= ready
    assert sorted(set(graph) - finished) == []


def test_a_script_makes_the_repository_importable_before_it_imports_from_it() -> None:
    expected = ast.unparse(ast.parse(PATH_LINE))
    for script in SCRIPTS:
        lines = [ast.unparse(statement) for statement in script.tree.body]
        assert lines.count(expected) == 1, f"{script.name} needs the line {PATH_LINE}"
        line = script.tree.body[lines.index(expected)].lineno
        early = [name for name, number in own_imports(script) if number < line]
        assert early == [], script.name


def test_only_scripts_touch_the_import_path() -> None:
    for source in SOURCES:
        uses = re.findall(r"sys\.path\b|PYTHONPATH|site\.addsitedir", source.text)
        assert len(uses) == source.is_script, source.name


def test_a_script_has_a_docstring_and_runs_its_main() -> None:
    guard = "if __name__ == '__main__':\n    run_script(main)"
    for script in SCRIPTS:
        body = script.tree.body
        assert [ast.unparse(s) for s in body if is_main_guard(s)] == [guard], script.name
        assert ast.get_docstring(script.tree), script.name
        functions = [s.name for s in body if isinstance(s, ast.FunctionDef)]
        assert "main" in functions, script.name


def calls_at_import(node: ast.AST) -> Iterator[ast.Call]:
    """The calls that run when a file is imported; not those inside functions."""
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
        return
    if isinstance(node, ast.Call):
        yield node
    for child in ast.iter_child_nodes(node):
        yield from calls_at_import(child)


WORK = re.compile(
    r"\b(open|read_text|read_bytes|read_line|write_text|write_bytes|mkdir|exists|is_file|is_dir|iterdir|"
    r"glob|unlink|is_available|device|load|manual_seed|seed|run|Popen|system|urlopen|connect|print|"
    r"set_default_dtype|set_num_threads|compile|parse_config|parse_flags|from_pretrained|environ)\("
)
"""Calls that read, write, choose a device, draw random numbers or compile."""


def test_nothing_happens_at_import() -> None:
    statements = ast.For | ast.While | ast.With | ast.Delete
    for source in SOURCES:
        body = [s for s in source.tree.body if not is_main_guard(s)]
        found = [call.func for statement in body for call in calls_at_import(statement)]
        calls = [f"{ast.unparse(function)}(" for function in found]
        work = [call for call in calls if WORK.search(call) and call != "re.compile("]
        assert work == [], source.name
        loops = [s.lineno for s in body if isinstance(s, statements)]
        assert loops == [], source.name


FORBIDDEN = {
    r"pickle\.loads?\(|import pickle|joblib": "pickle runs whatever a file says",
    r"(broadcast|all_gather|gather|scatter)_object": "torch.distributed pickles objects",
    r"weights_only\s*=\s*False": "torch.load must not run code",
    r"torch\.load\((?!.*weights_only\s*=\s*True)": "use safetensors",
    r"trust_remote_code": "code comes from this repository alone",
    r"\beval\(|\bexec\(": "no text becomes code",
    r"shell\s*=\s*True|os\.system\(": "no shell",
    r"filterwarnings\(\s*['\"]ignore['\"]\s*\)": "warnings are heard",
    r"except\s*:": "name the exception",
}


def test_nothing_forbidden_is_used() -> None:
    for source in SOURCES:
        code = without_strings(source)
        text = re.sub(r"\bmodel\.eval\(|\.eval\(", ".evaluate_mode(", code)
        for pattern, reason in FORBIDDEN.items():
            found = re.search(pattern, text)
            assert not found, f"{source.name}: {found and found.group()}: {reason}"


def without_strings(source: Source) -> str:
    """A file's code without comments and docstrings."""
    tree = ast.parse(source.text)
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            node.value = ast.Constant(value=None)
    return ast.unparse(tree)


def test_no_file_names_a_place_on_one_machine() -> None:
    names = ("*.py", "*.md", "*.toml", "*.txt", "Makefile", "*.html", "*.css", "*.js", ".ci/run")
    places = re.compile(r"(?<![\w.:/])/(home|Users|root|work|mnt|tmp|opt|data)/\w|[A-Z]:\\\\?Users")
    wrong = []
    for place in (ROOT, *(ROOT / folder for folder in (*FOLDERS, "tests", "docs"))):
        for name in names:
            for path in place.glob(name) if place == ROOT else place.rglob(name):
                lines = path.read_text(encoding="utf-8").splitlines()
                wrong += [f"{path}:{n}" for n, line in enumerate(lines, 1) if places.search(line)]
    assert wrong == []


OPENERS = {"open", "read_text", "write_text", "fdopen", "NamedTemporaryFile", "TemporaryFile"}


def test_every_text_file_is_opened_with_an_encoding() -> None:
    """Else Windows reads UTF-8 as something else."""
    tests = [Source(path) for path in sorted((ROOT / "tests").rglob("*.py"))]
    wrong = []
    for source in (*SOURCES, *tests):
        calls = (node for node in ast.walk(source.tree) if isinstance(node, ast.Call))
        wrong += [
            f"{source.name}:{c.lineno}: {ast.unparse(c)}" for c in calls if lacks_an_encoding(c)
        ]
    assert wrong == []


def lacks_an_encoding(call: ast.Call) -> bool:
    """Whether a call opens a text file and does not say in which encoding."""
    name, owner = ast.unparse(call.func).split(".")[-1], ast.unparse(call.func).split(".")[0]
    if name not in OPENERS or (owner in ("webbrowser", "os") and name == "open"):
        return False
    arguments = [ast.unparse(a) for a in (*call.args, *(k.value for k in call.keywords))]
    binary = any(re.fullmatch(r"'[rwxa+]*b[rwxa+]*'", argument) for argument in arguments)
    named = any(k.arg in ("encoding", None) for k in call.keywords)
    return not binary and not named and not {"'utf-8'", "'utf-8-sig'"} & set(arguments)


def test_no_folder_is_too_full_to_be_a_room() -> None:
    folders = {source.path.parent for source in SOURCES} - {ROOT}
    full = {str(folder): len(list(folder.glob("*.py"))) for folder in folders}
    assert {name: count for name, count in full.items() if count > 18} == {}


def test_no_file_hides_a_module_of_the_standard_library_or_of_a_requirement() -> None:
    """A script's own folder comes first on the import path: train/random.py would hide random."""
    required = re.findall(
        r"^[\w-]+", (ROOT / "requirements-dev.txt").read_text(encoding="utf-8"), re.M
    )
    required += re.findall(
        r"^[\w-]+", (ROOT / "requirements.txt").read_text(encoding="utf-8"), re.M
    )
    taken = set(sys.stdlib_module_names) | {name.replace("-", "_") for name in required}
    names = [s for s in SOURCES if s.path.stem in taken]
    names += [s for s in SOURCES if s.path.parent.name in taken and s.path.parent != ROOT]
    assert [source.name for source in names] == []


def test_every_folder_is_a_package() -> None:
    missing = {str(s.path.parent) for s in SOURCES if not (s.path.parent / "__init__.py").exists()}
    assert missing - {str(ROOT)} == set()


def test_config_and_the_text_side_of_the_model_do_not_wait_for_torch() -> None:
    """`--help` must answer at once: these are imported before it is printed."""
    for name in (
        "config",
        "model.tokenizer",
        "model.chat",
        "model.directory.storage",
        "data_process.records.jsonl",
    ):
        source = next(source for source in SOURCES if source.module == name)
        heavy = {"torch", "transformers", "numpy", "matplotlib"}
        assert not heavy & {module.split(".")[0] for module in imports_of(source)}, name
