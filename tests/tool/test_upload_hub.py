"""A model goes to the hub with a card that says what is known, and nothing that is not asked
for."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import ModelCard

from config import UserError
from model.directory.storage import json_writer, replace_file
from tool.conversion.hf import convert
from tool.settings import ConvertConfig, UploadConfig
from tool.upload_hub import model_card, upload_model


class StandIn(ThreadingHTTPServer):
    """As much of the hub's API as an upload of small files needs."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.requests: list[tuple[str, str]] = []
        self.created: dict[str, Any] = {}
        self.files: dict[str, bytes] = {}
        self.refuses_with = 0


class Handler(BaseHTTPRequestHandler):
    server: StandIn

    def log_message(self, *_: object) -> None:
        pass

    def body(self) -> bytes:
        return self.rfile.read(int(self.headers.get("Content-Length", 0)))

    def answer(self, value: object, code: int = 200) -> None:
        content = json.dumps(value).encode("utf-8")
        self.send_response(code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def do_POST(self) -> None:
        body = self.body()
        self.server.requests.append((self.path, self.headers.get("Authorization", "")))
        if self.server.refuses_with:
            self.answer({"error": "no"}, self.server.refuses_with)
        elif self.path == "/api/repos/create":
            self.server.created = json.loads(body)
            self.answer({"url": f"http://{self.headers['Host']}/me/my-etude"})
        elif self.path == "/api/validate-yaml":
            self.answer({"errors": [], "warnings": []})
        elif "/preupload/" in self.path:
            asked = json.loads(body)["files"]
            files = [
                {"path": f["path"], "uploadMode": "regular", "shouldIgnore": False} for f in asked
            ]
            self.answer({"files": files})
        elif "/commit/" in self.path:
            for line in map(json.loads, body.decode("utf-8").splitlines()):
                if line["key"] == "file":
                    content = base64.b64decode(line["value"]["content"])
                    self.server.files[line["value"]["path"]] = content
            address = f"http://{self.headers['Host']}/me/my-etude/commit/abc"
            self.answer({"commitUrl": address, "commitOid": "abc"})
        else:
            self.answer({"error": f"what is {self.path}?"}, 404)


@pytest.fixture
def hub() -> Iterator[StandIn]:
    server = StandIn()
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture
def converted(model_dir: Path) -> Path:
    output, _ = convert(ConvertConfig(model_dir))
    (output / "private_notes.txt").write_text("mine", encoding="utf-8")
    return output


def config_for(hub: StandIn, directory: Path, **changes: Any) -> UploadConfig:
    endpoint = f"http://127.0.0.1:{hub.server_port}"
    return UploadConfig("me/my-etude", directory, endpoint=endpoint, **changes)


def test_files_and_card_arrive_in_one_commit(
    hub: StandIn, converted: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    config = config_for(hub, converted)
    card = model_card(converted, config.repo_id, "apache-2.0")
    assert upload_model(config, card).endswith("/commit/abc")
    assert hub.created["name"] == "my-etude"
    assert hub.created.get("private") or hub.created.get("visibility") == "private"
    assert {"config.json", "tokenizer.json", "model.safetensors", "README.md"} <= set(hub.files)
    assert "private_notes.txt" not in hub.files
    assert hub.files["config.json"] == (converted / "config.json").read_bytes()
    assert hub.files["README.md"].decode("utf-8") == card
    assert {token for _, token in hub.requests} == {"Bearer hf_secret"}
    assert sum("/commit/" in path for path, _ in hub.requests) == 1


@pytest.mark.parametrize(
    ("code", "remedy"),
    [
        (200, "does not answer as the hub does"),  # a hotel's page of welcome
        (401, "your token is not valid: run `hf auth login`"),
        (403, "your token may not write there"),
        (404, "check the user or organisation"),
        (429, "run the same command again later"),
        (500, "run the same command again later"),
    ],
)
def test_a_refusal_is_one_sentence_with_its_remedy(
    hub: StandIn, converted: Path, monkeypatch: pytest.MonkeyPatch, code: int, remedy: str
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    hub.refuses_with = code
    with pytest.raises(UserError, match=rf"^--repo_id me/my-etude: .*{remedy}[^\n]*$"):
        upload_model(config_for(hub, converted), "card")


@pytest.mark.parametrize("endpoint", ["http://127.0.0.1:1", "http://no.host.invalid", "no-address"])
def test_a_hub_that_cannot_be_reached_is_one_sentence(
    converted: Path, monkeypatch: pytest.MonkeyPatch, endpoint: str
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    with pytest.raises(UserError, match=rf"^--repo_id me/x: {endpoint} does not answer[^\n]*$"):
        upload_model(UploadConfig("me/x", converted, endpoint=endpoint), "card")


@pytest.mark.parametrize("token", ["", " ", "hf_schlüssel"])
def test_without_a_token_the_hub_is_not_asked(
    hub: StandIn, converted: Path, monkeypatch: pytest.MonkeyPatch, token: str
) -> None:
    monkeypatch.setenv("HF_TOKEN", token)
    monkeypatch.setattr("huggingface_hub.constants.HF_TOKEN_PATH", str(converted / "none"))
    with pytest.raises(UserError, match="nobody is logged in"):
        upload_model(config_for(hub, converted), "card")
    assert hub.requests == []


def test_only_a_conversion_is_uploaded(hub: StandIn, model_dir: Path) -> None:
    with pytest.raises(UserError, match=r"not a converted model; make one with"):
        upload_model(config_for(hub, model_dir), "card")
    assert hub.requests == []


def test_the_card_says_what_is_known(converted: Path) -> None:
    summary = {
        "stage": "sft",
        "tokens_seen": 1234567,
        "bits_per_byte": {"han": 1.25, "latin": 0.5},
        "command": ["train_sft.py", "--sft_files", "a|b.jsonl"],
    }
    replace_file(converted / "training_summary.json", json_writer(summary))
    row = {"file": "p.jsonl", "measure": "minimal pairs", "value": 0.61, "low": 0.6, "high": 0.62}
    evaluation = {"files": [{**row, "chance": 0.5}], "right": 0.9, "questions": 10}
    replace_file(converted / "evaluation.json", json_writer(evaluation))
    card = model_card(converted, "me/my-etude", "mit")
    head = ModelCard(card).data.to_dict()  # type: ignore[no-untyped-call]
    assert (head["license"], head["language"]) == ("mit", ["zh", "en"])
    assert (head["library_name"], head["pipeline_tag"]) == ("transformers", "text-generation")
    for said in (
        "# my-etude",
        "1,234,567",
        "a\\|b.jsonl",
        "| p.jsonl | minimal pairs | 0.610 | 0.600 to 0.620 | 0.500 |",
        "90.0% of 10 questions",
        'pipeline("text-generation", "me/my-etude")',
    ):
        assert said in card


def test_a_bare_model_has_a_card_too(converted: Path) -> None:
    (converted / "training_summary.json").unlink()
    card = model_card(converted, "me/x", None)
    assert "license" not in card.split("---")[1]
    assert "## Training" not in card


@pytest.mark.parametrize(
    "name",
    [
        "",
        "x",
        "a/b/c",
        "a b/c",
        "a/-b",
        "a/b.",
        "a/b--c",
        "a/b..c",
        "a/b.git",
        "a/ü",
        "a/" + 97 * "b",
    ],
)
def test_a_wrong_name_of_a_repository_is_named(name: str) -> None:
    (problem,) = UploadConfig(name).problems()
    assert problem.startswith("repo_id is")
