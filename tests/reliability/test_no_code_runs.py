"""R18: a file never executes. Pickles of many kinds, each of which makes a file when it is loaded,
are put in the place of every file that Etude reads; none runs, and each is refused in a
sentence."""

from __future__ import annotations

import io
import json
import os
import shutil
import struct
import subprocess
import sys
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from config import ROOT, UserError
from data_process.records.jsonl import read_conversations, read_texts
from model.directory.pretrained import load_pretrained
from model.directory.storage import MANIFEST, SUMMARY, json_text, sha256_of
from model.tokenizer import EtudeTokenizer
from tests.reliability.runs import LENGTH, Finished, Run
from tests.reliability.trials import Trials
from tool.conversion.hf import import_hf
from tool.settings import ConvertConfig
from train.checkpoint import OPTIMIZER, STATE, list_checkpoints

pytestmark = [pytest.mark.full, pytest.mark.promise("R18")]


def protocol_0(mark: Path) -> bytes:
    """A pickle in its oldest form that calls os.mkdir."""
    return f"cos\nmkdir\n(V{mark}\ntR.".encode("ascii")


def protocol_2(mark: Path) -> bytes:
    """The same in the binary form that torch.save uses."""
    name = str(mark).encode("ascii")
    return b"\x80\x02cos\nmkdir\nX" + struct.pack("<I", len(name)) + name + b"\x85R."


def protocol_4(mark: Path) -> bytes:
    """The same in the form of today's Python, in a frame."""
    name = str(mark).encode("ascii")
    body = b"\x8c\x02os\x8c\x05mkdir\x93X" + struct.pack("<I", len(name)) + name + b"\x85R."
    return b"\x80\x04\x95" + struct.pack("<Q", len(body)) + body


def torch_archive(mark: Path) -> bytes:
    """A file of torch.save, as pytorch_model.bin is."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        archive.writestr("archive/data.pkl", protocol_2(mark))
        archive.writestr("archive/version", "3\n")
    return content.getvalue()


def object_array(mark: Path) -> bytes:
    """A .npy file of Python objects."""
    head = "{'descr': '|O', 'fortran_order': False, 'shape': (1,), }".ljust(117) + "\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(head)) + head.encode() + protocol_2(mark)


PAYLOADS = (protocol_0, protocol_2, protocol_4, torch_archive, object_array)


@dataclass(frozen=True)
class Door:
    """A file that Etude reads, and what reads it."""

    name: str
    path: Path
    read: Callable[[], object]


def doors(run: Run, folder: Path) -> list[Door]:
    """All of them."""
    model, checkpoint = run.directory, list_checkpoints(run.checkpoints)[0]
    llama = folder / "llama"
    shutil.copytree(model, llama, ignore=shutil.ignore_patterns("checkpoints"))
    (folder / "half").mkdir()
    shutil.copy(model / "config.json", folder / "half")
    data, cut = folder / "data.jsonl", folder / "half"

    def brought_in(directory: Path) -> Callable[[], object]:
        return lambda: import_hf(directory, ConvertConfig(output_dir=folder / "brought in"))

    def command(*words: str) -> Callable[[], object]:
        return lambda: run_script(folder, *words)

    return [
        Door("texts", data, lambda: list(read_texts(data))),
        Door("conversations", data, lambda: list(read_conversations(data))),
        Door("weights", model / "model.safetensors", lambda: load_pretrained(model)),
        Door("shape", model / "config.json", lambda: load_pretrained(model)),
        Door("tokenizer", model / "tokenizer.json", lambda: EtudeTokenizer.load(model)),
        Door("manifest", model / "MANIFEST.json", lambda: load_pretrained(model)),
        Door("a Llama's weights", llama / "model.safetensors", brought_in(llama)),
        Door("a Llama's old weights", cut / "pytorch_model.bin", brought_in(cut)),
        Door("a Llama's index", llama / "model.safetensors.index.json", brought_in(llama)),
        Door("optimizer", checkpoint / OPTIMIZER, command("train")),
        Door("state", checkpoint / STATE, command("train")),
        Door("dump", folder / "dump.xml", command("extract_wiki.py", "dump.xml")),
        Door("long text", folder / "book.txt", command("split_text.py", "book.txt")),
        Door("records", data, command("process_jsonl.py", "stats", "data.jsonl")),
    ]


def run_script(folder: Path, *words: str) -> None:
    """Runs a data script, or continues the training run; raises UserError where it is refused."""
    command = [sys.executable, str(ROOT / "data_process" / words[0]), *words[1:]]
    if words[0] == "train":
        command = (folder / "command").read_text(encoding="utf-8").splitlines()
        (folder / "pretrain" / SUMMARY).unlink(missing_ok=True)  # so that the run is not complete
    done = subprocess.run(
        command, cwd=folder, capture_output=True, encoding="utf-8", check=False, timeout=120
    )
    assert "Traceback" not in done.stderr, done.stderr
    if done.returncode:
        raise UserError(done.stderr)


def seal_again(path: Path) -> None:
    """Gives a file's new checksum to its directory's manifest, so that it alone saves nobody."""
    manifest = path.parent / MANIFEST
    if path == manifest or not manifest.exists():
        return
    entries = json.loads(manifest.read_text(encoding="utf-8"))
    if path.name in entries:
        entries[path.name] = {"bytes": path.stat().st_size, "sha256": sha256_of(path)}
        manifest.write_text(json_text(entries), encoding="utf-8")


def test_no_pickle_runs_wherever_it_is_put(
    finished: Finished, tmp_path: Path, trials: Trials
) -> None:
    # A book is text, whatever its bytes say; in place of a damaged checkpoint the one before goes.
    may_go_on = {"long text", "state"}
    payloads = PAYLOADS if trials.book.settings.release else PAYLOADS[1:4:2]
    for number, payload in enumerate(payloads):
        folder = tmp_path / str(number)
        shutil.copytree(finished.workspace.path, folder)
        command = finished.workspace.command("pretrain", *LENGTH)
        (folder / "command").write_text("\n".join(command), encoding="utf-8")
        for door in doors(Run(folder / "pretrain"), folder):
            mark = folder / "it ran"
            kept = door.path.read_bytes() if door.path.exists() else None
            door.path.write_bytes(payload(mark))
            seal_again(door.path)
            said = ""
            try:
                door.read()
            except UserError as error:
                said = str(error)
            passed = not mark.exists() and (bool(said) or door.name in may_go_on)
            facts = {"place": door.name, "payload": payload.__name__, "said": said[:90]}
            trials.record("-", passed, **facts)
            if kept is None:
                os.unlink(door.path)
            else:
                door.path.write_bytes(kept)
    trials.verdict()


@pytest.mark.parametrize("payload", PAYLOADS)
def test_the_payloads_do_run_where_they_are_loaded(
    payload: Callable[[Path], bytes], tmp_path: Path
) -> None:
    path, mark = tmp_path / "payload", tmp_path / "mark"
    path.write_bytes(payload(mark))
    loader = {
        "torch_archive": "import torch; torch.load(PATH, weights_only={})",
        "object_array": "import numpy; numpy.load(PATH, allow_pickle=True)",
    }.get(payload.__name__, "import {}; {}.load(open(PATH, 'rb'))")
    loader = loader.format(*(["False"] if "torch" in loader else ["pickle"] * 2))
    program = loader.replace("PATH", repr(str(path)))
    subprocess.run([sys.executable, "-c", program], capture_output=True, check=False, timeout=120)
    assert mark.is_dir()
