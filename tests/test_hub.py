"""The hub, played by a small server on loopback: whole downloads, broken ones, and none."""

from __future__ import annotations

import hashlib
import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from minibiogpt import InputError
from minibiogpt.hub import DEMO, REVISIONS, find_model

COMMIT = "c" * 40
GOOD = {name: (DEMO / name).read_bytes() for name in ("config.json", "vocab.json", "merges.txt", "model.safetensors")}
PICKLED = {name: GOOD[name] for name in ("config.json", "vocab.json", "merges.txt")} | {"pytorch_model.bin": b"pickle"}
REPOSITORIES = {
    ("microsoft/biogpt", "refs/pr/17"): GOOD | {"pytorch_model.bin": b"pickle", "extra/notes.txt": b"no"},
    ("microsoft/biogpt", "main"): PICKLED,
    ("some/pickle", "main"): PICKLED,
    ("some/torso", "main"): {name: GOOD[name] for name in ("config.json", "model.safetensors")},
    ("some/corrupt", "main"): GOOD | {"model.safetensors": GOOD["model.safetensors"][:-100]},
    ("some/truncated", "main"): GOOD,
}


class Hub(BaseHTTPRequestHandler):
    """What huggingface_hub asks for: a revision's list of files, and the files themselves."""

    asked: list[str] = []  # noqa: RUF012 - one server a test session

    def do_GET(self) -> None:
        self.answer(body=True)

    def do_HEAD(self) -> None:
        self.answer(body=False)

    def answer(self, body: bool) -> None:
        from urllib.parse import unquote

        path = unquote(self.path.partition("?")[0])
        self.asked.append(path)
        for (repo, revision), files in REPOSITORIES.items():
            if path in (f"/api/models/{repo}/revision/{revision}", f"/api/models/{repo}/revision/{COMMIT}"):
                if path.endswith(COMMIT) and not files:
                    continue
                listed = [{"rfilename": name, "size": len(data)} for name, data in files.items()]
                value = {"id": repo, "modelId": repo, "sha": COMMIT, "siblings": listed, "private": False, "tags": []}
                return self.send(json.dumps(value).encode(), {"Content-Type": "application/json"}, body)
            if path == f"/api/models/{repo}" and revision == "main":
                listed = [{"rfilename": name} for name in files]
                value = {"id": repo, "modelId": repo, "sha": COMMIT, "siblings": listed, "private": False, "tags": []}
                return self.send(json.dumps(value).encode(), {"Content-Type": "application/json"}, body)
            for name, data in files.items():
                if path in (f"/{repo}/resolve/{revision}/{name}", f"/{repo}/resolve/{COMMIT}/{name}"):
                    tag = hashlib.sha256(data).hexdigest()
                    headers = {"ETag": f'"{tag}"', "X-Repo-Commit": COMMIT, "Accept-Ranges": "bytes"}
                    cut = 1000 if repo == "some/truncated" and name == "model.safetensors" else 0
                    return self.send(data, headers, body, cut)
        self.send_response(404)
        self.send_header("X-Error-Code", "RepoNotFound")
        self.send_header("Content-Length", "0")
        self.end_headers()
        return None

    def send(self, data: bytes, headers: dict[str, str], body: bool, cut: int = 0) -> None:
        self.send_response(200)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if body:
            self.wfile.write(data[: len(data) - cut])

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()


def command(tmp_path: Path, endpoint: str, *words: str, **more: str) -> subprocess.CompletedProcess[str]:
    """`minibiogpt ...` in a process of its own, for the hub's client reads its settings once."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith("HF_")}
    settings = {"HF_ENDPOINT": endpoint, "HF_HOME": str(tmp_path / "home"), "HF_HUB_DISABLE_XET": "1"}
    settings |= {"HF_HUB_DISABLE_TELEMETRY": "1", "HF_HUB_DOWNLOAD_TIMEOUT": "2", "HF_HUB_ETAG_TIMEOUT": "2"}
    line = [sys.executable, "-m", "minibiogpt", *words]
    return subprocess.run(line, env=kept | settings | more, capture_output=True, text=True, timeout=120)


def one_error(run: subprocess.CompletedProcess[str]) -> str:
    """The command's one line on what is wrong; the hub's client may have written progress before it."""
    assert run.returncode == 2, run.stderr
    assert "Traceback" not in run.stderr
    lines = [line for line in run.stderr.splitlines() if line.startswith("minibiogpt: error: ")]
    assert len(lines) == 1, run.stderr
    return lines[0]


def test_a_whole_download_takes_the_safetensors_revision_and_no_pickle(tmp_path: Path, endpoint: str) -> None:
    Hub.asked.clear()
    run = command(tmp_path, endpoint, "download", "microsoft/biogpt", str(tmp_path / "biogpt"))
    assert run.returncode == 0, run.stderr
    assert {name: (tmp_path / "biogpt" / name).read_bytes() for name in GOOD} == GOOD
    assert not any(path.endswith(".bin") or "notes" in path for path in Hub.asked)
    assert any("refs/pr/17" in path for path in Hub.asked)
    assert sorted(path.name for path in (tmp_path / "biogpt").iterdir()) == sorted(GOOD)
    assert {path.name for path in tmp_path.iterdir()} <= {"biogpt", "home"}, "nothing is left beside"
    text = ["generate", "Ibuprofen is best used for"]
    assert command(tmp_path, endpoint, *text, "--model", str(tmp_path / "biogpt")).stdout.startswith(
        "Ibuprofen is best"
    )


def test_a_hub_id_is_a_model_and_then_needs_no_network(tmp_path: Path, endpoint: str) -> None:
    text = ["generate", "Ibuprofen is best used for", "--model", "microsoft/biogpt"]
    first = command(tmp_path, endpoint, *text)
    assert first.returncode == 0, first.stderr
    again = command(tmp_path, closed_port(), *text, HF_HUB_OFFLINE="1")
    assert (again.returncode, again.stdout) == (0, first.stdout), again.stderr


def closed_port() -> str:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{free.getsockname()[1]}"


@pytest.mark.parametrize(
    ("repository", "message"),
    [
        ("some/pickle", "must hold safetensors; found only pytorch_model.bin, which can run code"),
        ("some/torso", "must hold config.json, vocab.json, merges.txt; found no vocab.json, merges.txt"),
        ("some/corrupt", "must be a whole safetensors file"),
        ("some/truncated", "must be reachable and come whole"),
        ("some/nobody", "must be reachable and come whole; found RepositoryNotFoundError"),
        ("nonsense", "a repository must be OWNER/NAME; found 'nonsense'"),
    ],
)
def test_what_cannot_be_had_leaves_no_folder(tmp_path: Path, endpoint: str, repository: str, message: str) -> None:
    assert message in one_error(command(tmp_path, endpoint, "download", repository, str(tmp_path / "x")))
    left = {path.name for path in tmp_path.iterdir()} - {"home"}
    assert left <= ({"x.part"} if repository == "some/truncated" else set()), "what came of a cut download is kept"


def test_an_unknown_revision(tmp_path: Path, endpoint: str) -> None:
    words = ["download", "microsoft/biogpt", str(tmp_path / "x"), "--revision", "v9"]
    assert "(revision v9) must be reachable" in one_error(command(tmp_path, endpoint, *words))


def test_no_network_is_one_clear_error(tmp_path: Path) -> None:
    run = command(tmp_path, closed_port(), "download", "microsoft/biogpt", str(tmp_path / "x"))
    assert "must be reachable and come whole; found ConnectionError" in one_error(run).replace(
        "ConnectError", "ConnectionError"
    )
    assert not (tmp_path / "x").exists()
    run = command(tmp_path, closed_port(), "info", "--model", "microsoft/biogpt")
    assert "microsoft/biogpt (revision refs/pr/17) must be reachable" in one_error(run)


def test_a_folder_that_holds_something_is_not_touched(tmp_path: Path, endpoint: str) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("mine")
    Hub.asked.clear()
    run = command(tmp_path, endpoint, "download", "microsoft/biogpt", str(tmp_path / "full"))
    assert "must be new or empty" in one_error(run)
    assert Hub.asked == []
    assert [path.name for path in (tmp_path / "full").iterdir()] == ["mine.txt"]


WITHOUT = """
import sys
sys.modules["huggingface_hub"] = None
from minibiogpt.cli import main
sys.exit(main(["download", "microsoft/biogpt", "x"]))
"""


def test_without_huggingface_hub_the_extra_is_named() -> None:
    run = subprocess.run([sys.executable, "-c", WITHOUT], capture_output=True, text=True)
    assert "needs the package huggingface_hub; found none installed; pip install 'minibiogpt[hub]'" in one_error(run)


def test_names_that_are_no_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    assert find_model("demo") == DEMO
    assert find_model(tmp_path) == tmp_path
    for name in ("/nowhere", "./x", "a/b/c", "", "no such", "../x"):
        with pytest.raises(InputError, match="must be 'demo', a folder, or a hub id"):
            find_model(name)
    assert set(REVISIONS.values()) == {"refs/pr/17", "refs/pr/5", "refs/pr/2"}
