"""What porters pass to the JavaScript implementation by mistake: each is refused in one clear line."""

from __future__ import annotations

import json
from pathlib import Path

from tests.view.twin.running import KIT_TOOL, node
from tests.view.twin.test_refused import entry, file_of, refusals

MODEL = "new twin.BioGpt"
TOKENIZER = "new twin.BioGptTokenizer"
ARRAY = "{ shape: [1, 5], dtype: 'int64', numbers: new Float64Array(2) }"
NAN = "(() => { const t = new Map(tensors), n = 'biogpt.layers.2.fc1.bias', a = twin.copyArray(t.get(n));"
NAN += " a.numbers[0] = NaN; return new twin.BioGpt(config, t.set(n, a)); })()"

CALLS = {
    f"{MODEL}()": "config must be the object of config.json; found undefined; pass JSON.parse",
    f"{MODEL}(JSON.stringify(config), tensors)": "config must be the object of config.json; found",
    f"{MODEL}(config)":
        "tensors must be a Map from names to arrays; found undefined; pass readSafetensors(bytes).tensors",
    f"{MODEL}(config, twin.readSafetensors(bytes))":
        "tensors must be a Map from names to arrays; found an object; pass its",
    f"{MODEL}(config, Object.fromEntries(tensors))": "tensors must be a Map from names to arrays; found an object",
    f"{MODEL}(config, tensors, {{ dType: 'float64' }})": "the only option of a model is dtype; found dType; pass {",
    f"{MODEL}({{ ...config, num_hidden_layers: 2.5 }}, tensors)":
        "num_hidden_layers must be an integer, 1 or more; found 2.5",
    f"{MODEL}({{ ...config, num_hidden_layers: '4' }}, tensors)":
        'num_hidden_layers must be an integer, 1 or more; found "4"',
    f"{MODEL}({{ ...config, num_attention_heads: -4 }}, tensors)":
        "num_attention_heads must be an integer, 1 or more; found -4",
    f"{MODEL}({{ ...config, vocab_size: null }}, tensors)": "vocab_size must be an integer, 1 or more; found null",
    f"{MODEL}({{ ...config, scale_embedding: 'false' }}, tensors)":
        'scale_embedding must be true or false; found "false"',
    f"{MODEL}({{ ...config, eos_token_id: 1874 }}, tensors)":
        "eos_token_id must be null, an id in [0, 1874), or a list",
    f"{MODEL}({{ ...config, pad_token_id: 'x' }}, tensors)": "pad_token_id must be null or an id in [0, 1874); found",
    f"{MODEL}({{ ...config, model_type: 'gpt2' }}, tensors)": 'model_type must be biogpt; found "gpt2"',
    f"{MODEL}(config, new Map([...tensors].map(([k, v]) => ['model.' + k, v])))":
        'the checkpoint must have embed_tokens.weight; found "model.biogpt.embed_tokens.weight"; rename the tensors',
    f"{MODEL}(config, new Map([...tensors].slice(0, 9)))":
        "use a complete checkpoint: of a sharded one, join the tensors",
    f"{MODEL}(config, new Map([...tensors, ['layers.0.fc1.bias', twin.makeArray([512], 'float32')]]))":
        "a tensor must be there once, with or without biogpt.; found both names for layers.0.fc1.bias",
    f"{MODEL}(config, new Map([...tensors, ['biogpt.layers.0.fc1.bias', null]]))":
        "must be an array { shape, dtype, numbers }",
    f"{MODEL}(config, new Map([...tensors, ['biogpt.layers.0.fc1.bias', twin.makeArray([512], 'int64')]]))":
        "layers.0.fc1.bias must be of floats; found int64",
    "model.forward([[2, 5]])": "forward takes ids, attentionMask,",
    "model.forward(null)": "forward takes an object of inputs; found null",
    "model.forward({ ids: [[null]] })": "lists must hold numbers; found null",
    "model.forward({ ids: [['2']] })": 'lists must hold numbers; found "2"',
    "model.forward({ ids: [[{ id: 2 }]] })":
        "lists must hold numbers; found an object; convert it; of the tokens of encode(),",
    f"model.forward({{ ids: {ARRAY} }})":
        "with as many numbers in a typed array as its shape has; found shape [1,5], int64, 2",
    "model.forward({ ids: 0 })": "ids must be (B, T), with a token at least; found []",
    "model.forward({ ids: [[2]], attentionMask: [[null]] })": "lists must hold numbers; found null",
    "model.forward({ ids: [[2]], attentionMask: 0 })": "attentionMask must be (B, S) = [1,1]; found []",
    "model.forward({ ids: [[2]], positionIds: 0 })": "positionIds must be (B, T) = [1,1] or (1, T); found []",
    "model.forward({ ids: [[2]], headMask: 0 })": "headMask must be (H,) = [4] or (L, H) = [4,4]; found []",
    "model.forward({ ids: [[2, 5]], labels: 0 })": "labels must have the shape [1,2]; found []",
    "model.forward({ ids: [[2, 5]], labels: [[NaN, 2]] })":
        "labels must be in [0, 1874), or -100 where there is none; found NaN",
    "model.forward({ ids: [[2]], cache: {} })": "the cache must be a KVCache; found an object",
    "model.forward({ ids: [[2]], trace: true })": "trace must be a Trace, which is filled; found true",
    "model.forward({ ids: [[2]], trace: {} })": "trace must be a Trace, which is filled; found an object",
    "model.forward({ ids: [[2]], edits: 5 })": "edits must be an object of functions by name; found 5",
    "model.forward({ ids: [[2]], patchFrom: 5 })":
        "patchFrom must be a Trace, a Map or an object of arrays by name; found 5",
    "model.forward({ ids: [[2]], ablate: [0, 1] })":
        "ablate must be pairs [layer, head]; found a list of 2; pass [[0, 1]]",
    "model.forward({ ids: [[2]] }).cache.reorder([1])": "rows must be a list of rows of the cache, in [0, 1); found 1",
    "model.with({ toString: 1 })": "a trap must be a key of the rules; found toString",
    "model.with({ eps: 'x' })": 'eps must be a number, 0 or more; found "x"',
    "model.with({ causal: 0 })": "causal must be true or false; found 0",
    "model.with({ zeroBias: 'fc3' })": 'zeroBias must be a module with a bias; found "fc3"',
    "model.with({ transpose: 'fc1' })": "transpose must be null or a square matrix",
    "model.with({ layerOrder: 'random' })": 'layerOrder must be null, "reversed" or "first"; found "random"',
    "twin.generate(model, [])": "a prompt must be a list of ids, one text; found shape [0]",
    "twin.generate(model, [[2, 5], [2, 6]])": "a prompt must be a list of ids, one text; found shape [2,2]",
    "twin.generate(model, undefined)": "lists must hold numbers; found undefined",
    "twin.generate(model, [2, null])": "lists must hold numbers; found null",
    "twin.generate(model, [2, 5], null)": "options must be an object; found null",
    "twin.generate(model, [2, 5], { doSample: 'no' })": 'doSample must be true or false; found "no"',
    "twin.generate(model, [2, 5], { seed: 1.5 })": "seed must be null or an integer, 0 or more; found 1.5",
    "twin.generate(model, [2, 5], { seed: -1 })": "seed must be null or an integer, 0 or more; found -1",
    "twin.generate(model, [2, 5], { seed: 'x' })": 'seed must be null or an integer, 0 or more; found "x"',
    "twin.generate(model, [2, 5], { eosTokenId: '2' })":
        'eosTokenId must be null, an id in [0, 1874), or a list of ids; found "2"',
    "twin.generate(model, [2, 5], { eosTokenId: [2, 1874] })": "eosTokenId must be null, an id in [0, 1874), or a list",
    "twin.generate(model, [2, 5], { inputs: { ids: [[2]] } })":
        "inputs must be an object of inputs of forward(), without ids",
    "twin.generate(new twin.BioGpt({ ...config, architectures: ['BioGptModel'] }, tensors), [2, 5])":
        "generation needs a language model; found the head base",
    f"twin.generate({NAN}, [2, 5])": "logits must be finite to choose a token; found NaN or infinity after 2 tokens",
    f"{TOKENIZER}()": "vocab must be the object of vocab.json; found undefined",
    f"{TOKENIZER}({{ vocab: '{{}}', merges: '' }})":
        'vocab must be the object of vocab.json; found "{}"; pass JSON.parse',
    f"{TOKENIZER}({{ vocab: ['a'], merges: '' }})": "vocab must be the object of vocab.json; found a list of 1",
    f"{TOKENIZER}({{ vocab: new Map(), merges: '' }})": "vocab must be the object of vocab.json; found a Map",
    f"{TOKENIZER}({{ vocab: {{ a: '1' }}, merges: '' }})": 'vocab must map pieces to ids; found "1" for a',
    f"{TOKENIZER}({{ vocab: {{}} }})": "merges must be the text of merges.txt, or pairs",
    f"{TOKENIZER}({{ vocab: {{}}, merges: new Uint8Array(9) }})":
        "found a Uint8Array; read it as text: readFileSync(path,",
    f"{TOKENIZER}({{ vocab: {{}}, merges: ['a b 5'] }})":
        'merges must be the text of merges.txt, or pairs [["a", "b</w>"]]; found "a b 5"',
    f"{TOKENIZER}({{ vocab: {{}}, merges: 'merges.txt' }})": 'found "merges.txt"; read it as text',
    f"{TOKENIZER}({{ vocab: {{}}, merges: '' }}).encode(5)": "encode takes a text, and another for a pair; found 5",
    f"{TOKENIZER}({{ vocab: {{}}, merges: '' }}).encode('a', ['b'])":
        "encode takes a text, and another for a pair; found a list",
    f"{TOKENIZER}({{ vocab: {{}}, merges: '' }}).decode(2)": "decode takes a list of ids; found 2",
    f"{TOKENIZER}({{ vocab: {{}}, merges: '' }}).decode([4])":
        "an id must be an integer of the vocabulary, 0 to 3; found 4",
    f"{TOKENIZER}({{ vocab: {{}}, merges: '' }}).decode([null])":
        "an id must be an integer of the vocabulary, 0 to 3; found null",
    f"{TOKENIZER}({{ vocab: {{}}, merges: '' }}).decode([[2]])":
        "an id must be an integer of the vocabulary, 0 to 3; found a list of 1",
    f"{TOKENIZER}({{ vocab: {{}}, merges: '' }}).decode([2], {{ skip_special_tokens: true }})":
        "the only option of decode is skipSpecialTokens; found skip_special_tokens",
    "twin.readSafetensors('model.safetensors')":
        'takes the bytes of a file, a Uint8Array; found "model.safetensors"; read the file',
    "twin.writeSafetensors({})": "writeSafetensors takes a Map from names to arrays; found an object",
    "twin.writeSafetensors(new Map([['a', new Float32Array(2)]]))":
        "a must be an array { shape, dtype, numbers }, of float64, float32",
    "twin.writeSafetensors(new Map([['a', { ...twin.makeArray([1], 'float32'), dtype: 'float16' }]]))":
        "found [1], float16, 1 numbers",
    "twin.writeSafetensors(new Map([['a', twin.makeArray([3], 'float32', [1])]]))": "found [3], float32, 1 numbers",
    "twin.writeSafetensors(new Map([['a', twin.makeArray([1], 'int64', [1.5])]]))": "must be integers within 2 ** 53",
    "twin.runCase(model, { tensors, metadata: {} })": "a case must list its arrays in its metadata; found none",
}  # fmt: skip

F32 = entry("F32", [1], 0, 4)
FILES = {
    file_of({"x": F32, "y": F32}, b"0000"): "the tensors of a file must follow each other; found y at byte 0, not 4",
    file_of({"x": entry("F32", [1], 4, 8)}, b"00000000"): "must follow each other; found x at byte 4, not 0",
    file_of({"x": F32}, b"00000"): "the tensors must fill the file; found 1 bytes after the last",
    file_of({"x": F32 | {"data_offsets": [0, 4, 8]}}, b"0000"): "the header must give x a shape and data_offsets",
    file_of({"x": F32, "__metadata__": {"a": 5}}, b"0000"): "__metadata__ must map names to texts",
}  # fmt: skip


def test_each_is_refused_in_one_line() -> None:
    expected = CALLS | {f"twin.readSafetensors({file})": message for file, message in FILES.items()}
    for (expression, words), message in zip(expected.items(), refusals(list(expected)), strict=True):
        assert message.startswith("BioGptError: "), f"{expression[:200]}: {message}"
        assert words in message, f"{expression[:200]}: {message}"
        assert message.count("; ") >= 2, message
        assert "\n" not in message
        assert "[object" not in message, message


ACCEPTED = [
    "model.forward({ ids: [[2n, 5n]] })",
    "model.forward({ ids: [BigInt64Array.from([2n, 5n])], attentionMask: [[true, false]] })",
    "model.forward({ ids: [[2]], cache: null, trace: null, edits: null, ablate: null, patchFrom: null, labels: null })",
    "twin.generate(model, [[2, 5]], { maxNewTokens: 1, doSample: true, seed: '18446744073709551616' })",
    "twin.generate(model, twin.makeArray([1, 2], 'int64', [2, 5]), { maxNewTokens: 1, eosTokenId: null, seed: null })",
    "twin.readSafetensors(bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.length))",
    f"{MODEL}({{ ...config, pad_token_id: null, eos_token_id: [2, 3], scale_embedding: null }}, tensors)",
    f"{TOKENIZER}({{ vocab: {{}}, merges: [] }}).decode(BigInt64Array.from([2n]))",
]


def test_what_is_right_is_accepted() -> None:
    for expression, message in zip(ACCEPTED, refusals(ACCEPTED), strict=True):
        assert message == "accepted", f"{expression}: {message}"


def test_the_tool_refuses_in_one_line_and_writes_nothing(kit: Path, tmp_path: Path) -> None:
    out, broken = tmp_path / "out", tmp_path / "broken"
    broken.mkdir()
    (broken / "manifest.json").write_text("{")
    expected = {
        (kit, out, "float16"): "twin_kit: error: dtype must be float32 or float64; found float16; choose one of them",
        (tmp_path / "no", out): "KIT is a folder that minibiogpt golden kit wrote",
        (broken, out): "twin_kit: error: manifest.json must be JSON; found other text; write the kit again",
        (kit, out, "float32", "more"): "usage: node tools/twin_kit.mjs KIT OUT [float32|float64]",
        (kit, kit / "manifest.json"): "twin_kit: error: ",
    }
    for arguments, words in expected.items():
        done = node(KIT_TOOL, *arguments)
        assert (done.returncode, done.stdout) == (2, "")
        assert words in done.stderr
        assert done.stderr.count("\n") == 1, done.stderr
        assert not out.exists()
    assert json.loads((kit / "manifest.json").read_text())["format"] == "minibiogpt-golden-kit"
