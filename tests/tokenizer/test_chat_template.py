"""Chat templates: kept, written where transformers writes them, and never rendered."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import transformers

from minibiogpt import BioGptTokenizer, InputError

ONE = "{% for message in messages %}{{ message['content'] }}\n{% endfor %}"
SEVERAL = {"default": ONE, "tool_use": "{{ tools }}"}
TEMPLATES = [ONE, SEVERAL, {"rag": "{{ documents }}"}]
CHAT = [{"role": "user", "content": "a"}]


def files(folder: Path) -> dict[str, str]:
    return {str(path.relative_to(folder)): path.read_text() for path in folder.rglob("*.jinja")}


def in_config(folder: Path) -> Any:
    return json.loads((folder / "tokenizer_config.json").read_text()).get("chat_template")


@pytest.mark.parametrize("jinja", [True, False])
@pytest.mark.parametrize("template", TEMPLATES)
def test_templates_are_written_as_by_transformers_and_read_by_both(template: Any, jinja: bool, tmp_path: Path) -> None:
    tok = BioGptTokenizer.from_pretrained("demo")
    assert tok.chat_template is None
    tok.chat_template = template
    written = tok.save_pretrained(tmp_path / "a", save_jinja_files=jinja)
    theirs = transformers.BioGptTokenizer.from_pretrained(tmp_path / "a")
    assert theirs.chat_template == template
    theirs.save_pretrained(tmp_path / "b", save_jinja_files=jinja)
    assert files(tmp_path / "a") == files(tmp_path / "b")
    assert {str(Path(path).relative_to(tmp_path / "a")) for path in written if path.endswith(".jinja")} == set(
        files(tmp_path / "a")
    )
    assert in_config(tmp_path / "a") == in_config(tmp_path / "b")
    for folder in (tmp_path / "a", tmp_path / "b"):
        assert BioGptTokenizer.from_pretrained(folder).chat_template == template


def test_a_file_wins_over_the_config_and_an_option_over_both_as_in_transformers(tmp_path: Path) -> None:
    tok = BioGptTokenizer.from_pretrained("demo", chat_template="config")
    tok.save_pretrained(tmp_path, save_jinja_files=False)
    for kind in (BioGptTokenizer, transformers.BioGptTokenizer):
        assert kind.from_pretrained(tmp_path).chat_template == "config"
    (tmp_path / "chat_template.jinja").write_text("file")
    for kind in (BioGptTokenizer, transformers.BioGptTokenizer):
        assert kind.from_pretrained(tmp_path).chat_template == "file"
        assert kind.from_pretrained(tmp_path, chat_template="option").chat_template == "option"


def test_no_template_writes_no_file(tmp_path: Path) -> None:
    BioGptTokenizer.from_pretrained("demo").save_pretrained(tmp_path)
    assert files(tmp_path) == {}
    assert in_config(tmp_path) is None


@pytest.mark.parametrize("name", ["apply_chat_template", "encode_message_with_chat_template"])
def test_templates_are_not_rendered(name: str) -> None:
    tok = BioGptTokenizer.from_pretrained("demo")
    with pytest.raises(AttributeError, match="BioGPT has no chat template: pass the text itself"):
        getattr(tok, name)(CHAT)
    tok.chat_template = ONE
    with pytest.raises(AttributeError, match=r"render .chat_template with jinja2 or transformers, and pass the text$"):
        getattr(tok, name)(CHAT)
    with pytest.raises(AttributeError, match=r"write tokenizer\.chat_template$"):
        tok.get_chat_template()


@pytest.mark.parametrize("wrong", [3, b"a", {"a": 3}, {"../a": "b"}, {"": "b"}, ["a"], [{"name": "a"}]])
def test_other_templates_are_refused(wrong: Any, tmp_path: Path) -> None:
    tok = BioGptTokenizer.from_pretrained("demo")
    with pytest.raises(InputError, match="chat_template must be a Jinja template, or a dictionary of names and temp"):
        tok.chat_template = wrong
    with pytest.raises(InputError, match="chat_template must be a Jinja template"):
        BioGptTokenizer.from_pretrained("demo", chat_template=wrong)


@pytest.mark.parametrize("wrong", [None, 3, "", b"folder"])
def test_files_are_saved_to_a_folder(wrong: Any) -> None:
    tok = BioGptTokenizer.from_pretrained("demo")
    for save in (tok.save_pretrained, tok.save_vocabulary):
        with pytest.raises(InputError, match="save_directory must be the path of a folder; found .*; pass a path such"):
            save(wrong)


def test_the_number_of_templates_is_limited_because_each_is_saved_to_a_file() -> None:
    named = [{"name": f"n{i}", "template": "x"} for i in range(101)]
    assert len(BioGptTokenizer.from_pretrained("demo", chat_template=named[1:]).chat_template) == 100
    with pytest.raises(InputError, match="at most 100 chat templates; found 101"):
        BioGptTokenizer.from_pretrained("demo", chat_template=named)
