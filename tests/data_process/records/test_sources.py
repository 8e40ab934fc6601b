"""Every packing of data is read as its JSONL is, by every reader, and whole or not at all."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from config import ROOT, PathConfig, UserError
from data_process.records.files import find_files
from data_process.records.jsonl import Source, read_records, read_texts
from data_process.records.parts import KnownFiles, jsonl_parts, survey
from tests.data_process.jsonl_command import read, run, texts, write

RECORDS = [{"text": f"第{n}句话，说的是同一件事。 {n}", "id": n} for n in range(60)]


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Copies stay among the files of the test."""
    monkeypatch.setattr(PathConfig, "cache_dir", tmp_path / "cache")


def lines_of(records: list[Any]) -> str:
    return "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records)


def zstd(data: bytes) -> bytes:
    out = pa.BufferOutputStream()
    with pa.CompressedOutputStream(out, "zstd") as stream:
        stream.write(data)
    return out.getvalue().to_pybytes()


def parquet(records: list[Any]) -> bytes:
    out = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(records), out, row_group_size=7)
    return out.getvalue()


def arrow(records: list[Any], open_file: Callable[..., Any]) -> bytes:
    out = io.BytesIO()
    table = pa.Table.from_pylist(records)
    with open_file(out, table.schema) as writer:
        writer.write_table(table, max_chunksize=7)
    return out.getvalue()


LINES = lines_of(RECORDS).encode()
ARRAY = json.dumps(RECORDS, ensure_ascii=False).encode()
PACKED = {
    "a.jsonl": LINES,
    "a.jsonl.gz": gzip.compress(LINES),
    "a.gz": gzip.compress(LINES[:900]) + gzip.compress(LINES[900:]),
    "a.jsonl.bz2": bz2.compress(LINES),
    "a.jsonl.xz": lzma.compress(LINES),
    "a.jsonl.zst": zstd(LINES),
    "two frames.zst": zstd(LINES[:900]) + zstd(LINES[900:]),
    "gzip by its bytes.jsonl": gzip.compress(LINES),
    "cr.jsonl": LINES.replace(b"\n", b"\r"),
    "crlf.jsonl": LINES.replace(b"\n", b"\r\n"),
    "array.json": ARRAY,
    "array.jsonl": ARRAY,
    "array.json.gz": gzip.compress(ARRAY),
    "pretty.json": json.dumps(RECORDS, indent=1).encode(),
    "jq.json": "".join(json.dumps(r, indent=2) + "\n" for r in RECORDS).encode(),
    "utf16.jsonl": LINES.decode().encode("utf-16"),
    "utf16le.jsonl": LINES.decode().encode("utf-16-le"),
    "utf16be.jsonl": LINES.decode().encode("utf-16-be"),
    "utf32.jsonl": LINES.decode().encode("utf-32"),
    "gb.jsonl": LINES.decode().encode("gb18030"),
    "gb array.json.gz": gzip.compress(ARRAY.decode().encode("gb18030")),
    "a.parquet": parquet(RECORDS),
    "parquet by its bytes.gz": gzip.compress(parquet(RECORDS)),
    "file.arrow": arrow(RECORDS, pa.ipc.new_file),
    "stream.arrow": arrow(RECORDS, pa.ipc.new_stream),
}


@pytest.mark.parametrize("name", PACKED)
def test_every_packing_is_read_alike_whole_in_parts_and_by_training(
    name: str, tmp_path: Path
) -> None:
    path = tmp_path / name
    path.write_bytes(PACKED[name])
    assert [record.value for record in read_records(path)] == RECORDS
    assert [text for _, text in read_texts(path)] == [record["text"] for record in RECORDS]
    parts = jsonl_parts([path], part_bytes=1000)
    assert len(parts) > 3
    assert [r.value for part in parts for r in read_records(part)] == RECORDS
    found = survey(path, 1000, KnownFiles(tmp_path / "cache" / "known.json"))
    assert found.records == len(RECORDS)


@pytest.mark.parametrize("name", PACKED)
def test_every_packing_comes_from_a_pipe(name: str, tmp_path: Path) -> None:
    output = tmp_path / "out.jsonl"
    for command in ("filter", "merge"):
        flags = ["--min_characters", 1] if command == "filter" else []
        ran = run(command, "-", *flags, "--output", output, "--overwrite", stdin=PACKED[name])
        assert ran.code == 0, ran.err
        assert read(output) == RECORDS
    assert not list((tmp_path / "cache").glob("*/*/*.tmp"))


@pytest.mark.parametrize("ending", [".gz", ".xz", ".zst", ".bz2"])
def test_a_cut_or_damaged_file_is_named_by_line_and_gives_nothing(
    ending: str, tmp_path: Path
) -> None:
    path = tmp_path / f"a.jsonl{ending}"
    whole = PACKED[path.name]
    for data in (whole[:-9], whole[: len(whole) // 2], whole[:-30] + b"damaged!" + whole[-22:]):
        path.write_bytes(data)
        with pytest.raises(UserError, match=rf"^{path}:\d+: (here the|.*)"):
            jsonl_parts([path])
        with pytest.raises(UserError, match=str(path)):
            list(read_records(path))


def test_a_mistake_keeps_its_line_in_whatever_it_is_packed(tmp_path: Path) -> None:
    lines = [*LINES.splitlines(), b'{"text": 3}', *LINES.splitlines()]
    packed = {
        "a.jsonl.gz": gzip.compress(b"\n\n" + b"\n".join(lines)),
        "cr.jsonl": b"\r\r" + b"\r".join(lines),
        "a.json": b"[\n\n" + b",\n".join(lines) + b"\n]",
        "gb.jsonl": (b"\n\n" + b"\n".join(lines)).decode().encode("gb18030"),
    }
    for name, data in packed.items():
        path = tmp_path / name
        path.write_bytes(data)
        sources: list[Source] = [path, *jsonl_parts([path])]
        for part in sources:
            with pytest.raises(UserError, match=f'^{path}:63: "text" is an? int'):
                list(read_texts(part))


def test_bytes_that_are_no_text_make_their_line_a_bad_one(tmp_path: Path) -> None:
    good = lines_of(RECORDS).encode("gb18030").splitlines()
    path = tmp_path / "gb.jsonl"
    path.write_bytes(b"\n".join([*good, b'{"text": "\xff\xff"}', *good]))
    ran = run("filter", path, "--min_characters", 1, "--bad_records", "skip")
    assert ran.count("dropped: bad record") == 1
    assert len(ran.out.splitlines()) == 120
    assert f"{path}:61: not UTF-8" in run("filter", path, "--min_characters", 1).err


@pytest.mark.parametrize("encoding", ["latin-1", "cp1252", "cp1251"])
def test_a_line_in_another_encoding_is_refused_where_none_is_certain(
    encoding: str, tmp_path: Path
) -> None:
    path = tmp_path / "a.jsonl"
    word = "мир" if encoding == "cp1251" else "é"
    path.write_bytes(b'{"text": "one"}\n' + f'{{"text": "{word}"}}\n'.encode(encoding))
    with pytest.raises(UserError, match=r":2: not UTF-8 \(byte 11 of the line\)"):
        list(read_texts(path))


def test_null_and_what_json_cannot_spell_come_out_of_a_table(tmp_path: Path) -> None:
    table = pa.table(
        {
            "text": ["a", None],
            "score": [float("nan"), 0.5],
            "day": pa.array([0, 1], pa.date32()),
            "image": [b"\0\1", None],
        }
    )
    path = tmp_path / "a.parquet"
    pq.write_table(table, path)
    assert [record.value for record in read_records(path)] == [
        {"text": "a", "score": None, "day": "1970-01-01", "image": "<2 bytes>"},
        {"text": None, "score": 0.5, "day": "1970-01-02", "image": None},
    ]


@pytest.mark.parametrize("ending", [".gz", ".xz", ".zst", ".bz2"])
def test_an_output_is_compressed_by_its_name_and_the_same_each_time(
    ending: str, tmp_path: Path
) -> None:
    path = write(tmp_path / "a.jsonl", RECORDS)
    outputs = [tmp_path / name / f"out.jsonl{ending}" for name in "ab"]
    for output in outputs:
        assert run("merge", path, "--output", output).code == 0
    assert outputs[0].read_bytes() == outputs[1].read_bytes() != LINES
    assert [record.value for record in read_records(outputs[0])] == RECORDS
    again = run("merge", path, "--output", outputs[0])
    assert again.code == 2
    assert "exists" in again.err


def test_an_output_becomes_a_table_with_a_column_for_each_key(tmp_path: Path) -> None:
    records: list[dict[str, Any]] = [
        {"conversations": [{"role": "user", "content": "Hi"}], "id": 1},
        {"conversations": [{"role": "user", "content": "Ho"}], "score": 0.5},
        {"conversations": [], "score": 2, "tags": ["a"]},
    ]
    path, output = write(tmp_path / "a.jsonl", records), tmp_path / "out.parquet"
    assert run("merge", path, "--output", output).code == 0
    rows = pq.read_table(output).to_pylist()
    assert [{k: v for k, v in row.items() if v is not None} for row in rows] == records
    assert [r.value["id"] for r in read_records(output)] == [1, None, None]
    mixed = write(tmp_path / "b.jsonl", [{"text": "a", "id": 1}, {"text": "b", "id": "x"}])
    ran = run("merge", mixed, "--output", tmp_path / "mixed.parquet")
    assert ran.code == 2
    assert "one type for each key" in ran.err
    assert not (tmp_path / "mixed.parquet").exists()


def test_a_text_file_and_a_model_are_recognised_with_the_command_that_helps(tmp_path: Path) -> None:
    book = tmp_path / "book.txt"
    book.write_text("Once upon a time.\n", encoding="utf-8")
    with pytest.raises(UserError, match=f"split_text.py {book} --output "):
        list(read_texts(book))
    ran = run("check", book)
    assert ran.code == 1
    assert f"split_text.py {book}" in ran.out
    model = tmp_path / "model"
    model.mkdir()
    (model / "config.json").write_text("{}", encoding="utf-8")
    (model / "model.safetensors").touch()
    with pytest.raises(UserError, match=f"convert_hf.py --from_hf {model}"):
        find_files([model])


def test_folders_of_hugging_face_give_the_tables_of_one_split(tmp_path: Path) -> None:
    hub = tmp_path / "hub" / "data"
    hub.mkdir(parents=True)
    names = ["train-00000-of-00002.parquet", "train-00001-of-00002.parquet"]
    for name in names:
        (hub / name).write_bytes(parquet(RECORDS[:30]))
    assert find_files([tmp_path / "hub"]) == [hub / name for name in names]
    (hub / "test-00000-of-00001.parquet").write_bytes(parquet(RECORDS))
    with pytest.raises(UserError, match="has the splits test and train"):
        find_files([tmp_path / "hub"])
    saved = tmp_path / "saved"
    saved.mkdir()
    (saved / "data-00000-of-00001.arrow").write_bytes(arrow(RECORDS, pa.ipc.new_stream))
    (saved / "cache-12ab.arrow").write_bytes(b"of a map that was not saved")
    state = {"_data_files": [{"filename": "data-00000-of-00001.arrow"}]}
    (saved / "state.json").write_text(json.dumps(state), encoding="utf-8")
    ran = run("merge", saved)
    assert [json.loads(line) for line in ran.out.splitlines()] == RECORDS


def test_a_copy_is_made_once_and_anew_when_the_file_has_changed(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl.gz"
    path.write_bytes(gzip.compress(LINES))
    first = jsonl_parts([path])[0].path
    made = first.stat().st_mtime_ns
    assert jsonl_parts([path])[0].path.stat().st_mtime_ns == made
    path.write_bytes(gzip.compress(LINES[: LINES.index(b"\n") + 1]))
    parts = jsonl_parts([path])
    assert [r.value for part in parts for r in read_records(part)] == RECORDS[:1]
    assert not first.exists()


def test_plain_files_are_read_where_they_stand(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", texts(10))
    assert jsonl_parts([path])[0].path == path
    assert not (tmp_path / "cache").exists()


@pytest.mark.parametrize("script", ["clean_text", "dedup_jsonl", "split_text", "prepare"])
def test_every_script_reads_standard_input_and_compressed_files(
    script: str, tmp_path: Path
) -> None:
    records = [
        {"text": f"The {word} fox jumped over number {n} of the lazy dogs, and then it slept well."}
        for n, word in enumerate(("brown", "red", "white", "grey", "black", "old"))
    ]
    data, path = lines_of(records).encode(), tmp_path / "a.jsonl.gz"
    path.write_bytes(gzip.compress(data))
    outputs = []
    for number, (source, stdin) in enumerate(
        (("-", data), ("-", gzip.compress(data)), (path, b""))
    ):
        output = tmp_path / str(number) / "out.jsonl"
        flags = ["--output", output, "--workers", 1]
        ran = run(source, *flags, stdin=stdin, script=ROOT / "data_process" / f"{script}.py")
        assert ran.code == 0, ran.err
        outputs.append([record["text"] for record in read(output)])
    assert outputs[0] == outputs[1] == outputs[2]
    assert outputs[0]
    assert sys.stdin is not None


def test_texts_come_compressed_and_from_a_pipe(tmp_path: Path) -> None:
    text = "Es war einmal ein König. " * 50
    path = tmp_path / "book.txt.xz"
    path.write_bytes(lzma.compress(text.encode("utf-16")))
    script, output = ROOT / "data_process" / "split_text.py", tmp_path / "out.jsonl"
    assert run(path, "--output", output, "--workers", 1, script=script).code == 0
    pieces = read(output)
    assert "".join(piece["text"] for piece in pieces) == text
    assert {piece["source"] for piece in pieces} == {"book.txt.xz"}
    flags = ("-", "--output", output, "--overwrite", "--workers", 1)
    assert run(*flags, stdin=text.encode(), script=script).code == 0
    assert "".join(piece["text"] for piece in read(output)) == text
    assert read(output)[0]["source"] == "standard input"
