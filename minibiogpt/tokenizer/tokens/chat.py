"""Chat templates: kept with a tokenizer and written back, as transformers 4.57 does; they are not rendered here."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from minibiogpt.errors import InputError, short_repr
from minibiogpt.files.reading import read_text
from minibiogpt.files.writing import write_atomically

TEMPLATE, FILE, FOLDER = "chat_template", "chat_template.jinja", "additional_chat_templates"
DEFAULT = "default"
MAX_TEMPLATES = 100
METHODS = ("apply_chat_template", "encode_message_with_chat_template")


def checked_template(value: Any) -> str | dict[str, str] | None:
    """Return a template, {name: template} or None; the list that transformers writes for several becomes a dict."""
    must = f"{TEMPLATE} must be a Jinja template, or a dictionary of names and templates"
    if isinstance(value, list | tuple):
        named = [x for x in value if isinstance(x, Mapping) and {"name", "template"} <= set(x)]
        if len(named) < len(value):
            raise InputError(must, short_repr(value), 'write [{"name": "default", "template": "..."}]')
        value = {x["name"]: x["template"] for x in named}
    if isinstance(value, Mapping):
        if len(value) > MAX_TEMPLATES:  # each is saved to a file
            raise InputError(f"there must be at most {MAX_TEMPLATES} chat templates", f"{len(value)}", "leave some out")
        for name, template in value.items():
            if not isinstance(template, str) or not isinstance(name, str) or not name or {*name} & {*'/\\:"'}:
                raise InputError(must, short_repr({name: template}), "use strings; a name is part of a file name")
        return dict(value)
    if not isinstance(value, str | None):
        raise InputError(must, short_repr(value), "pass the text of the template")
    return value


def read_templates(folder: Path) -> str | dict[str, str] | None:
    """Return the templates in the files of a folder, which override tokenizer_config.json; None without such files."""
    files = {DEFAULT: folder / FILE} if (folder / FILE).is_file() else {}
    files |= {path.stem: path for path in sorted((folder / FOLDER).glob("*.jinja"))}
    found = {name: read_text(path, f"{path.name} must be readable") for name, path in files.items()}
    return found[DEFAULT] if list(found) == [DEFAULT] else found or None


def write_templates(folder: Path, prefix: str, templates: str | dict[str, str] | None) -> list[str]:
    """Write chat_template.jinja and, the others of several to additional_chat_templates; return the paths."""
    named = {DEFAULT: templates} if isinstance(templates, str) else templates or {}
    others = folder / (prefix + FOLDER)
    files = {folder / (prefix + FILE) if name == DEFAULT else others / f"{name}.jinja": x for name, x in named.items()}
    for path, text in files.items():
        write_atomically(path, partial(Path.write_text, data=text, encoding="utf-8", newline="\n"))
    return [str(path) for path in files]


def as_listed(templates: str | dict[str, str]) -> str | list[dict[str, str]]:
    """Return the templates as tokenizer_config.json holds them."""
    if isinstance(templates, str):
        return templates
    return [{"name": name, "template": template} for name, template in templates.items()]


def advice(template: Any) -> str:
    """Return what to write instead of a method that would render a template."""
    if template is None:
        return "BioGPT has no chat template: pass the text itself to the tokenizer"
    return "templates aren't rendered here: render .chat_template with jinja2 or transformers, and pass the text"
