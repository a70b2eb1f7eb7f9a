"""Downloads from the hub, here a small server on localhost: complete, broken and impossible ones."""

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
from importlib.metadata import version
from pathlib import Path
from urllib.parse import unquote

import numpy as np
import pytest
import safetensors.numpy

from minibiogpt import InputError
from minibiogpt.files import naming
from minibiogpt.files.hub import DEMO, download, find_model
from minibiogpt.files.naming import REVISIONS

Files = dict[str, bytes]
SINGLE, INDEX = "model.safetensors", "model.safetensors.index.json"
TEXT_FILES = {name: (DEMO / name).read_bytes() for name in ("config.json", "vocab.json", "merges.txt")}
GOOD = TEXT_FILES | {SINGLE: (DEMO / SINGLE).read_bytes()}
PICKLED = TEXT_FILES | {"pytorch_model.bin": b"pickle"}


def sharded() -> Files:
    """The demo's tensors in two shards and an index."""
    tensors = safetensors.numpy.load(GOOD[SINGLE])
    names, shards = sorted(tensors), ("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors")
    weight_map = {name: shards[i % 2] for i, name in enumerate(names)}
    files = {file: safetensors.numpy.save({n: tensors[n] for n in names if weight_map[n] == file}) for file in shards}
    return files | {INDEX: json.dumps({"metadata": {}, "weight_map": weight_map}).encode()}


SHARDED = sharded()
ADAPTER = {
    "adapter_config.json": json.dumps(
        {"peft_type": "LORA", "r": 1, "lora_alpha": 1, "target_modules": ["0.fc1"], "base_model_name_or_path": "demo"}
    ).encode(),
    "adapter_model.safetensors": safetensors.numpy.save(
        {f"base_model.model.biogpt.layers.0.fc1.lora_{k}.weight": np.ones(shape, np.float32) / 99
         for k, shape in (("A", (1, 128)), ("B", (512, 1)))}
    ),
}  # fmt: skip
LARGE = TEXT_FILES | {
    SINGLE: safetensors.numpy.save({"x": np.zeros(3_000_000, np.float32)})
}  # over the client's 10 MB chunk
REPOSITORIES: dict[tuple[str, str], Files] = {
    ("microsoft/biogpt", "refs/pr/17"): GOOD | {"pytorch_model.bin": b"pickle", "extra/model-x.safetensors": b"no"},
    ("microsoft/biogpt", "main"): PICKLED,
    ("microsoft/BioGPT-Large", "refs/pr/5"): {"config.json": GOOD["config.json"], SINGLE: GOOD[SINGLE]},
    ("microsoft/BioGPT-Large", "main"): PICKLED | {"config.json": b"not this one", "tokenizer_config.json": b"{}"},
    ("some/sharded", "main"): TEXT_FILES | SHARDED,
    ("some/both", "main"): GOOD | SHARDED,
    ("some/hole", "main"): TEXT_FILES | {name: data for name, data in SHARDED.items() if "00002-of" not in name},
    ("some/pickle", "main"): PICKLED,
    ("some/torso", "main"): {name: GOOD[name] for name in ("vocab.json", SINGLE)},
    ("some/model-alone", "main"): {name: GOOD[name] for name in ("config.json", SINGLE)},
    ("some/adapter", "main"): ADAPTER | {"training_args.bin": b"pickle", "README.md": b"no"},
    ("some/corrupt", "main"): GOOD | {SINGLE: GOOD[SINGLE][:-100]},
    ("some/cut", "main"): LARGE,
    ("some/short", "main"): GOOD,
    ("some/gated", "main"): GOOD,
}
NEXT_CUTS: set[str] = {"some/cut"}  # repositories whose next download of safetensors is cut off


def commit_of(repo: str, revision: str) -> str:
    return hashlib.sha1(f"{repo} {revision}".encode()).hexdigest()


def tag_of(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


class Hub(BaseHTTPRequestHandler):
    """The requests of huggingface_hub: a revision's list of files, and the files, complete or from a byte offset on."""

    requests: list[tuple[str, str | None]] = []  # noqa: RUF012 - paths and ranges; one server per test session

    def do_GET(self) -> None:
        self.answer(body=True)

    def do_HEAD(self) -> None:
        self.answer(body=False)

    def answer(self, body: bool) -> None:
        path = unquote(self.path.partition("?")[0])
        self.requests.append((path, self.headers.get("Range")))
        if "some/gated" in path:
            return self.refuse(403, "GatedRepo")
        for (repo, revision), files in REPOSITORIES.items():
            for name in (revision, commit_of(repo, revision)):
                if path == f"/api/models/{repo}/revision/{name}" or (name, path) == ("main", f"/api/models/{repo}"):
                    return self.list(repo, revision, files, body)
                if path == f"/api/models/{repo}/tree/{name}":
                    return self.tree(files, body)
                if path.startswith(f"/{repo}/resolve/{name}/"):
                    return self.file(repo, revision, files, path.removeprefix(f"/{repo}/resolve/{name}/"), body)
        known = any(path.startswith(f"/api/models/{repo}/") for repo, _ in REPOSITORIES)
        return self.refuse(404, "RevisionNotFound" if known else "RepoNotFound")

    def list(self, repo: str, revision: str, files: Files, body: bool) -> None:
        listed = [{"rfilename": name} for name in files]
        value = {"id": repo, "modelId": repo, "sha": commit_of(repo, revision), "siblings": listed, "tags": []}
        self.send(200, json.dumps(value).encode(), {"Content-Type": "application/json"}, body)

    def tree(self, files: Files, body: bool) -> None:
        """The list of files for huggingface_hub 1.0 and later, with sizes and tags."""
        listed = [{"type": "file", "path": n, "size": len(data), "oid": tag_of(data)} for n, data in files.items()]
        self.send(200, json.dumps(listed).encode(), {"Content-Type": "application/json"}, body)

    def file(self, repo: str, revision: str, files: Files, name: str, body: bool) -> None:
        if name not in files:
            return self.refuse(404, "EntryNotFound")
        data = files[name]
        headers = {"ETag": f'"{tag_of(data)}"', "X-Repo-Commit": commit_of(repo, revision), "Accept-Ranges": "bytes"}
        if (repo, name, body) == ("some/short", SINGLE, True):
            return self.send(200, data[:-1000], headers, body)  # shorter than HEAD said
        begin = int((self.headers.get("Range") or "bytes=0-").removeprefix("bytes=").partition("-")[0])
        if begin:
            headers["Content-Range"] = f"bytes {begin}-{len(data) - 1}/{len(data)}"
        cut = 1000 if repo in NEXT_CUTS and name == SINGLE else 0
        return self.send(206 if begin else 200, data[begin:], headers, body, cut)

    def refuse(self, status: int, code: str) -> None:
        self.send(status, b"", {"X-Error-Code": code}, body=False)

    def send(self, status: int, data: bytes, headers: dict[str, str], body: bool, cut: int = 0) -> None:
        self.send_response(status)
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


@pytest.fixture
def requests() -> list[tuple[str, str | None]]:
    """The requests that the server receives during one test."""
    Hub.requests.clear()
    return Hub.requests


def command(tmp_path: Path, endpoint: str, *words: str, **more: str) -> subprocess.CompletedProcess[str]:
    """Run `minibiogpt ...` in a subprocess, because the hub's client reads its settings only once."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith("HF_")}
    settings = {"HF_ENDPOINT": endpoint, "HF_HOME": str(tmp_path / "home"), "HF_HUB_DISABLE_XET": "1"}
    settings |= {"HF_HUB_DISABLE_TELEMETRY": "1", "HF_HUB_DOWNLOAD_TIMEOUT": "2", "HF_HUB_ETAG_TIMEOUT": "2"}
    line = [sys.executable, "-m", "minibiogpt", *words]
    return subprocess.run(line, env=kept | settings | more, capture_output=True, text=True, timeout=120)


def fetch(tmp_path: Path, endpoint: str, repository: str) -> Files:
    """Return the files that `minibiogpt download` writes to a new folder; it must write nothing else."""
    run = command(tmp_path, endpoint, "download", repository, str(tmp_path / "x"))
    assert run.returncode == 0, run.stderr
    assert {path.name for path in tmp_path.iterdir()} <= {"x", "home"}, "nothing is left beside"
    return {path.name: path.read_bytes() for path in (tmp_path / "x").iterdir()}


def one_error(run: subprocess.CompletedProcess[str]) -> str:
    """Return the command's error line. The hub's client may have printed progress before it."""
    assert run.returncode == 2, run.stderr
    assert "Traceback" not in run.stderr
    lines = [line for line in run.stderr.splitlines() if line.startswith("minibiogpt: error: ")]
    assert len(lines) == 1, run.stderr
    return lines[0]


def closed_port() -> str:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{free.getsockname()[1]}"


def test_a_whole_download_takes_the_safetensors_revision_and_no_pickle(
    tmp_path: Path, endpoint: str, requests: list[tuple[str, str | None]]
) -> None:
    assert fetch(tmp_path, endpoint, "microsoft/biogpt") == GOOD
    paths = [path for path, _ in requests]
    assert not any(path.endswith(".bin") or "extra" in path for path in paths)
    assert "/api/models/microsoft/biogpt/revision/refs/pr/17" in paths
    assert not (tmp_path / "home" / "hub").exists(), "no second copy"
    run = command(tmp_path, endpoint, "generate", "Ibuprofen is best used for", "--model", str(tmp_path / "x"))
    assert run.stdout.startswith("Ibuprofen is best")


def test_what_the_safetensors_revision_lacks_comes_from_main(
    tmp_path: Path, endpoint: str, requests: list[tuple[str, str | None]]
) -> None:
    assert fetch(tmp_path, endpoint, "microsoft/BioGPT-Large") == GOOD | {"tokenizer_config.json": b"{}"}
    assert not any(path.endswith(".bin") for path, _ in requests)


def test_shards_come_with_their_index(tmp_path: Path, endpoint: str) -> None:
    assert fetch(tmp_path, endpoint, "some/sharded") == TEXT_FILES | SHARDED
    assert command(tmp_path, endpoint, "info", "--model", str(tmp_path / "x")).returncode == 0


def test_a_single_file_makes_shards_superfluous(tmp_path: Path, endpoint: str) -> None:
    assert fetch(tmp_path, endpoint, "some/both") == GOOD


def test_a_model_without_a_tokenizer_is_downloaded_and_used_with_another(tmp_path: Path, endpoint: str) -> None:
    run = command(tmp_path, endpoint, "download", "some/model-alone", str(tmp_path / "x"))
    assert run.returncode == 0
    assert "some/model-alone has no vocab.json, merges.txt: name a tokenizer with --tokenizer" in run.stderr
    text = ["generate", "Ibuprofen is best used for", "--model", str(tmp_path / "x")]
    assert "a tokenizer needs vocab.json; found no file" in one_error(command(tmp_path, endpoint, *text))
    for tokenizer in ("demo", str(DEMO / "vocab.json"), "microsoft/BioGPT"):
        run = command(tmp_path, endpoint, *text, "--tokenizer", tokenizer)
        assert run.stdout == "Ibuprofen is best used for pain and inflammation.\n", run.stderr


def test_an_adapter_is_downloaded_without_pickles(tmp_path: Path, endpoint: str) -> None:
    assert fetch(tmp_path, endpoint, "some/adapter") == ADAPTER
    facts = [
        json.loads(command(tmp_path, endpoint, "info", "--json", *words).stdout)["adapter"]
        for words in (
            ["--model", str(tmp_path / "x")],
            ["--model", "some/adapter"],
            ["--adapter", "some/adapter"],
        )
    ]
    assert facts == ["merged adapter r=1 alpha=1, 1 module"] * 3


@pytest.mark.parametrize(
    "name",
    ["microsoft/BioGPT", "Microsoft/biogpt", "https://huggingface.co/microsoft/biogpt", "hf.co/microsoft/biogpt/",
     "https://huggingface.co/microsoft/biogpt/tree/refs/pr/17", "microsoft/biogpt/"],
)  # fmt: skip
def test_a_hub_id_in_any_case_or_as_an_address(
    tmp_path: Path, endpoint: str, name: str, requests: list[tuple[str, str | None]]
) -> None:
    for words in (["info", "--model", name], ["download", name, str(tmp_path / "x")]):
        run = command(tmp_path, endpoint, *words)
        assert run.returncode == 0, run.stderr
    assert "/api/models/microsoft/biogpt/revision/refs/pr/17" in [path for path, _ in requests]
    assert not any("BioGPT" in path or "Microsoft" in path for path, _ in requests)


def test_a_revision_of_a_model(tmp_path: Path, endpoint: str) -> None:
    run = command(tmp_path, endpoint, "info", "--model", "microsoft/biogpt", "--revision", "main")
    assert "must hold model.safetensors or its index" in one_error(run)
    run = command(tmp_path, endpoint, "info", "--model", "https://huggingface.co/microsoft/biogpt/blob/v9/config.json")
    assert "microsoft/biogpt (revision v9) must be on the hub; found no such revision" in one_error(run)
    with pytest.warns(UserWarning, match="revision 'main' has no effect: demo is not on the hub"):
        assert find_model("demo", "main") == DEMO


def test_a_file_of_the_folder_names_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "my model"
    folder.mkdir()
    for name, content in GOOD.items():
        (folder / name).write_bytes(content)
    (folder / "special_tokens_map.json").write_text("{}")
    (folder / "added_tokens.json").write_text("{}")
    for name in (*GOOD, "special_tokens_map.json", "added_tokens.json", ""):
        assert find_model(folder / name) == find_model(f"{folder}/{name}") == folder
    assert find_model((folder / SINGLE).as_uri()) == folder
    monkeypatch.setenv("HOME", str(tmp_path))
    assert find_model("~/my model").samefile(folder)
    monkeypatch.chdir(tmp_path)
    assert find_model("my model/").samefile(folder)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("pytorch_model.bin", "a pickle; convert it without running its code: minibiogpt convert .*.bin FOLDER"),
        ("checkpoint.pt", "a pickle; convert it without running its code: minibiogpt convert .*.pt FOLDER"),
        ("last.ckpt", "minibiogpt convert .*last.ckpt FOLDER"),
        ("merged.safetensors", "name it model.safetensors, beside its config.json, and name that folder"),
        ("training_args.bin", "training wrote beside the weights; name the folder itself"),
        ("optimizer.pt", "training wrote beside the weights; name the folder itself"),
        ("rng_state_3.pth", "training wrote beside the weights; name the folder itself"),
        ("model-q4.gguf", "a model must be a folder, or one of its files; found the file .*gguf'; name the folder"),
    ],
)
def test_other_files_are_refused_with_what_to_do(tmp_path: Path, name: str, message: str) -> None:
    (tmp_path / name).write_bytes(b"x")
    for file in (tmp_path / name, str(tmp_path / name)):
        with pytest.raises(InputError, match=message):
            find_model(file)


@pytest.mark.parametrize(
    ("name", "remedy"),
    [
        ("biogpt", "did you mean microsoft/biogpt?"),
        ("BioGPT-Large", "did you mean microsoft/BioGPT-Large?"),
        ("https://huggingface.co/microsoft", "check the path$"),
        ("https://example.com/microsoft/biogpt", "check the path; did you mean microsoft/biogpt"),
        ("./microsoft/biogpt", "check the path; did you mean microsoft/biogpt"),
        ("nothing/like/it", "check the path$"),
        ("microsoft/biogpt.git", "leave '.git' out$"),
        ("https://huggingface.co/microsoft/biogpt.git", "leave '.git' out$"),
        ("a/b--c", "a hub id has no '--'$"),
        ("a/b..c", "a hub id has no '..'$"),
        ("a/b-", "no part of a hub id ends in '-' or '.'$"),
        ("a/" + "b" * 97, "a repository's name has at most 96 characters$"),
        ("~nobody-here/x", "check the path$"),
        ("", "check the path$"),
    ],
)
def test_what_is_no_name_is_one_line(name: str, remedy: str) -> None:
    with pytest.raises(InputError, match=f"a model('s folder)? must be .*{remedy}"):
        find_model(name)


def test_the_hub_refuses_these_ids_too() -> None:
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id

    for name in ("a/b.git", "a/b--c", "a/b..c", "a/b-", "a/b.", "a-/b", "a/" + "b" * 97):
        assert naming._not_in_an_id(name)
        with pytest.raises(HFValidationError):
            validate_repo_id(name)
    for name in ("a/b", "a/b-c.d_e", "A1/" + "b" * 96):
        assert not naming._not_in_an_id(name)
        validate_repo_id(name)


def test_a_file_that_is_missing_from_its_folder_is_no_hub_id(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("shards").mkdir()
    Path("link").symlink_to("nowhere")
    name = "model-00001-of-00005.safetensors"
    with pytest.raises(InputError, match=f"found no file {name} in the folder shards; name the folder itself"):
        find_model(f"shards/{name}")
    with pytest.raises(InputError, match="found 'link', a link to 'nowhere', which is missing; fetch what it links to"):
        find_model("link")


def test_what_is_named_is_said(tmp_path: Path) -> None:
    found = "found '/nowhere', which is no folder"
    with pytest.raises(InputError, match=f"^an adapter must be a folder or a hub id; {found}; check"):
        find_model("/nowhere", what="an adapter")
    (tmp_path / "x.bin").write_bytes(b"x")
    with pytest.raises(InputError, match="^a tokenizer must be a folder, or one of its files; found"):
        find_model(tmp_path / "x.bin", what="a tokenizer")


def test_an_empty_folder_is_filled(tmp_path: Path, endpoint: str) -> None:
    (tmp_path / "x").mkdir()
    assert fetch(tmp_path, endpoint, "microsoft/biogpt") == GOOD


def test_a_download_that_was_cut_off_goes_on_where_it_stopped(
    tmp_path: Path, endpoint: str, requests: list[tuple[str, str | None]]
) -> None:
    NEXT_CUTS.add("some/cut")
    error = one_error(command(tmp_path, endpoint, "download", "some/cut", str(tmp_path / "x")))
    assert "some/cut (revision main) must be reachable and download completely" in error
    assert "try again: the files downloaded so far are kept" in error
    part = f"x.{commit_of('some/cut', 'main')[:12]}.part"
    assert {path.name for path in tmp_path.iterdir()} - {"home"} == {part}, "no x"
    NEXT_CUTS.discard("some/cut")
    requests.clear()
    assert fetch(tmp_path, endpoint, "some/cut") == LARGE
    assert not any(path.endswith("vocab.json") for path, _ in requests), "complete files are not downloaded again"
    if version("huggingface_hub").startswith("0."):  # later versions restart an incomplete file
        (begin,) = (span.removeprefix("bytes=").partition("-")[0] for _, span in requests if span)
        assert int(begin) >= 10_000_000


@pytest.mark.parametrize(
    ("repository", "message"),
    [
        ("some/pickle", "must hold safetensors; found only pytorch_model.bin, which can run code; name a revision"),
        ("some/torso", "must hold config.json; found none; choose another repository or revision"),
        ("some/corrupt", "must be a complete safetensors file"),
        ("some/short", "must download completely; found OSError: Consistency check failed"),
        ("some/hole", "must exist; found no such file"),
        ("some/gated", "must be accessible to you; found access refused (HTTP 403)"),
        ("some/nobody", "must be on the hub; found no such repository, or a private one"),
        ("nonsense", "a repository must be OWNER/NAME; found 'nonsense'"),
    ],
)
def test_what_cannot_be_had_leaves_nothing(tmp_path: Path, endpoint: str, repository: str, message: str) -> None:
    assert message in one_error(command(tmp_path, endpoint, "download", repository, str(tmp_path / "x")))
    assert {path.name for path in tmp_path.iterdir()} <= {"home"}


def test_a_pickle_is_refused_before_anything_is_fetched(
    tmp_path: Path, endpoint: str, requests: list[tuple[str, str | None]]
) -> None:
    command(tmp_path, endpoint, "download", "some/pickle", str(tmp_path / "x"))
    assert requests
    assert not any("/resolve/" in path for path, _ in requests)


def test_an_unknown_revision(tmp_path: Path, endpoint: str) -> None:
    words = ["download", "microsoft/biogpt", str(tmp_path / "x"), "--revision", "v9"]
    error = one_error(command(tmp_path, endpoint, *words))
    assert "microsoft/biogpt (revision v9) must be on the hub; found no such revision" in error


def test_no_network_is_one_clear_error(tmp_path: Path) -> None:
    run = command(tmp_path, closed_port(), "download", "microsoft/biogpt", str(tmp_path / "x"))
    message = "microsoft/biogpt (revision refs/pr/17) must be reachable and download completely; found Conn"
    assert message in one_error(run)
    assert {path.name for path in tmp_path.iterdir()} <= {"home"}
    run = command(tmp_path, closed_port(), "info", "--model", "microsoft/biogpt")
    assert "microsoft/biogpt (revision refs/pr/17) must be reachable" in one_error(run)


@pytest.mark.parametrize("words", [["download", "some/cut", "x"], ["info", "--model", "some/cut"]])
def test_offline_is_named_when_it_is_asked_for(tmp_path: Path, words: list[str]) -> None:
    run = command(tmp_path, closed_port(), *words, HF_HUB_OFFLINE="1")
    error = one_error(run)
    assert "must be in the hub's cache; found HF_HUB_OFFLINE set; unset it" in error
    assert ("name a folder" in error) is (words[0] != "download")


def test_a_path_that_cannot_be_is_one_clear_error(tmp_path: Path, endpoint: str) -> None:
    (tmp_path / "file").write_text("mine")
    run = command(tmp_path, endpoint, "download", "some/sharded", str(tmp_path / "file" / "x"))
    assert "the parent folder of FOLDER must be a folder" in one_error(run)


def test_a_folder_that_holds_something_is_not_touched(
    tmp_path: Path, endpoint: str, requests: list[tuple[str, str | None]]
) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("mine")
    for path in (tmp_path / "full", tmp_path / "full" / "mine.txt"):
        run = command(tmp_path, endpoint, "download", "microsoft/biogpt", str(path))
        assert "must be new or empty" in one_error(run)
    assert requests == []
    assert [path.name for path in (tmp_path / "full").iterdir()] == ["mine.txt"]


def test_the_current_folder_is_not_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match="must be new or empty"):
        download("microsoft/biogpt", ".")


def test_a_hub_id_is_a_model_and_then_needs_no_network(
    tmp_path: Path, endpoint: str, requests: list[tuple[str, str | None]]
) -> None:
    text = ["generate", "Ibuprofen is best used for", "--model", "microsoft/biogpt"]
    first = command(tmp_path, endpoint, *text)
    assert first.returncode == 0, first.stderr
    assert not any(path.endswith(".bin") for path, _ in requests)
    again = command(tmp_path, closed_port(), *text, HF_HUB_OFFLINE="1")
    assert (again.returncode, again.stdout) == (0, first.stdout), again.stderr
    again = command(tmp_path, closed_port(), *text)
    assert (again.returncode, again.stdout) == (0, first.stdout), again.stderr


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
    for name in ("/nowhere", "./x", "a/b/c", "", "no such", "../x", "a/", "a/b\n", Path("owner/name")):
        with pytest.raises(InputError, match="must be 'demo', a folder, or a hub id"):
            find_model(name)
    assert set(REVISIONS.values()) == {"refs/pr/17", "refs/pr/5", "refs/pr/2"}


@pytest.mark.parametrize("name", ["a\0b", "A" * 5000, "a/" * 4000])
def test_a_path_that_cannot_be_is_refused_by_both_doors(name: str) -> None:
    with pytest.raises(InputError, match="must be new or empty; found .*, which cannot be read"):
        download("microsoft/biogpt", name)
    with pytest.raises(InputError, match="a model('s folder)? must be"):
        find_model(name)


def test_a_folder_that_cannot_be_listed_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def locked(path: Path) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "iterdir", locked)
    with pytest.raises(InputError, match="new or empty; found .*cannot be read .Permission denied.; choose"):
        download("microsoft/biogpt", tmp_path)
    monkeypatch.setattr(Path, "is_dir", locked)
    message = "a model's folder must be readable; found .*: Permission denied; check the path"
    with pytest.raises(InputError, match=message):
        find_model(tmp_path)
