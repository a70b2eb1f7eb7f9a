"""Node for tests of the pages' JavaScript modules, with JSON in and out."""

from __future__ import annotations

import json
import math
import shutil
import subprocess
from functools import cache
from typing import Any

import pytest

from minibiogpt.view.modules import STATIC

FIRST_VERSION = (18, 0)  # has the JavaScript of the browsers that pages support
# Numbers that JSON lacks are {"number": "NaN"}; a typed array is a list; a Map is a list of pairs.
AROUND = """
import {{ readFileSync as readInput, writeSync as writeOutput }} from "node:fs";
const input = JSON.parse(readInput(0, "utf8"), (key, value) => {{
  const isNumber = value !== null && typeof value === "object" && Object.keys(value).join() === "number";
  return isNumber ? Number(value.number) : value;
}});
const plain = (key, value) => {{
  if (typeof value === "number" && (!Number.isFinite(value) || Object.is(value, -0))) {{
    return {{ number: Object.is(value, -0) ? "-0" : String(value) }};
  }}
  if (typeof value === "bigint") return String(value);
  return ArrayBuffer.isView(value) || value instanceof Map ? [...value] : value;
}};
const result = await (async () => {{
{body}
}})();
const written = Buffer.from(JSON.stringify(result === undefined ? null : result, plain));
for (let at = 0; at < written.length; at += writeOutput(1, written, at));
"""


@cache
def node() -> str:
    """Return the path of Node. Skip the test if there is none, or one that is too old."""
    path = shutil.which("node")
    if path is None:
        pytest.skip("Node is not installed")
    version = subprocess.run([path, "--version"], capture_output=True, text=True, check=True).stdout.strip()
    if tuple(map(int, version.removeprefix("v").split(".")[:2])) < FIRST_VERSION:
        pytest.skip(f"Node {version} is older than {'.'.join(map(str, FIRST_VERSION))}")
    return path


def run_js(body: str, data: Any = None, *, imports: str = "", timeout: float = 120) -> Any:
    """Run JavaScript in Node and return what it returns.

    Parameters
    ----------
    body : the body of an async function, which sees ``input`` (``data``) and returns a value for JSON.
    imports : import statements; paths are relative to the pages' folder of scripts.

    Raises
    ------
    AssertionError
        If the script fails; the message is Node's.
    """
    code = imports + AROUND.format(body=body)
    command = [node(), "--input-type=module", "-e", code]
    text = json.dumps(_plain(data))
    done = subprocess.run(command, input=text.encode(), capture_output=True, cwd=STATIC, timeout=timeout)
    assert done.returncode == 0, done.stderr.decode(errors="replace")[-4000:]
    return json.loads(done.stdout, object_hook=_number)


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if hasattr(value, "tolist"):
        return _plain(value.tolist())
    if isinstance(value, float) and (not math.isfinite(value)):
        return {"number": "NaN" if value != value else "Infinity" if value > 0 else "-Infinity"}
    return value


def _number(value: dict[str, Any]) -> Any:
    if value.keys() != {"number"}:
        return value
    return float(str(value["number"]).replace("Infinity", "inf"))
