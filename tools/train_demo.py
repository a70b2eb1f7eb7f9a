"""Make the demo checkpoint from a seed: corpus, vocabulary, weights. `python tools/train_demo.py --out minibiogpt/demo`

Needs the packages of the extra `test` (PyTorch and transformers; tokenizers comes with them). The result depends on
the seed, and in the last digits on the machine. Prints the loss on sentences that were never trained on, and what the
best heads do.

Two things make this little model grow the heads that notebooks show: some rows are random pieces said twice or three
times, which nothing but copying can foretell; and one head of the first layer starts by looking one position back. From
there on it is trained like everything else; the head that copies comes of itself.
"""

from __future__ import annotations

import argparse
import json
import math
import shutil
import string
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import sacremoses
import torch
from demo_corpus import corpus
from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from transformers import BioGptConfig, BioGptForCausalLM, BioGptTokenizer

SPECIAL = ["<s>", "<pad>", "</s>", "<unk>"]
EXTRA = "αβγδκμω°±×≥≤µ–"
VOCABULARY, N, BATCH, PEAK = 1874, 256, 16, 2e-3
TWICE = 4  # rows of a batch in which random pieces are said again and again
WAVES = 1.2  # how large the positions start; the table's other columns start at 0.02


def moses(texts: list[str]) -> list[str]:
    """Moses tokens joined by blanks, as BioGPT's tokenizer makes them before its byte-pair merges."""
    tokenizer = sacremoses.MosesTokenizer(lang="en")
    return [tokenizer.tokenize(text, aggressive_dash_splits=True, return_str=True, escape=True) for text in texts]


def learn_vocabulary(texts: list[str], folder: Path) -> None:
    """Write vocab.json and merges.txt: every printable character inside and at the end of a word, then merges."""
    characters = [c for c in string.printable if not c.isspace()] + list(EXTRA)
    alphabet = [form for c in characters for form in (c, f"{c}</w>")]
    tokenizer = Tokenizer(models.BPE(end_of_word_suffix="</w>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    # the trainer counts its own alphabet: more merges than fit, of which the first are taken
    trainer = trainers.BpeTrainer(vocab_size=VOCABULARY, end_of_word_suffix="</w>", show_progress=False)
    split = moses(texts)
    tokenizer.train_from_iterator(split, trainer)
    merges = [tuple(pair) for pair in json.loads(tokenizer.to_str())["model"]["merges"]]
    merges = merges[: VOCABULARY - len(SPECIAL) - len(alphabet)]
    pieces = dict.fromkeys([*SPECIAL, *alphabet, *(a + b for a, b in merges)])
    assert len(pieces) == VOCABULARY, f"no piece may come from two merges: {len(pieces)} pieces"
    vocabulary = {piece: i for i, piece in enumerate(pieces)}
    (folder / "vocab.json").write_text(json.dumps(vocabulary, ensure_ascii=False), encoding="utf-8")
    counts = count_merges(merges, Counter(word for text in split for word in text.split()))
    lines = [f"{a} {b} {count}\n" for (a, b), count in zip(merges, counts, strict=True)]
    (folder / "merges.txt").write_text("".join(lines), encoding="utf-8")


def count_merges(merges: list[tuple[str, str]], words: Counter[str]) -> list[int]:
    """How often each merge joins its pair in the corpus, when the merges are made in this order."""
    split = {word: [*word[:-1], f"{word[-1]}</w>"] for word in words}
    counts = []
    for pair in merges:
        count = 0
        for word, pieces in split.items():
            i = 0
            while i < len(pieces) - 1:
                if (pieces[i], pieces[i + 1]) == pair:
                    pieces[i : i + 2] = ["".join(pair)]
                    count += words[word]
                i += 1
        counts.append(count)
    return counts


def encode(tokenizer: BioGptTokenizer, texts: list[str]) -> list[list[int]]:
    """Each text as `</s> tokens </s>`; nothing may be unknown."""
    rows = [[*tokenizer(text)["input_ids"], tokenizer.eos_token_id] for text in texts]
    assert not any(tokenizer.unk_token_id in row for row in rows), "the vocabulary must cover its own corpus"
    return rows


def batches(rows: list[list[int]], rng: np.random.Generator) -> Iterator[torch.Tensor]:
    """Endless (BATCH, N) ids: rows of whole documents in random order, and rows of repetitions."""
    while True:
        row: list[int] = []
        batch: list[list[int]] = []
        for i in rng.permutation(len(rows)):
            document = rows[i] if not row else rows[i][1:]  # the closing </s> opens the next document
            row += document
            if len(row) >= N:
                batch.append(row[:N])
                row = []
            if len(batch) == BATCH - TWICE:
                yield torch.tensor(batch + [said_again(rng) for _ in range(TWICE)])
                batch = []


def said_again(rng: np.random.Generator) -> list[int]:
    """N ids: `</s>`, some random pieces two or three times, and so on until the row is full."""
    row: list[int] = []
    while len(row) < N:
        pieces = rng.integers(len(SPECIAL), VOCABULARY, int(rng.integers(4, 40))).tolist()
        row += [SPECIAL.index("</s>"), *pieces * int(rng.integers(2, 4))]
    return row[:N]


@torch.no_grad()
def start_positions(model: BioGptForCausalLM) -> None:
    """Positions start as waves, and head 0 of layer 0 by looking one position back.

    The first Dh columns hold cosine and sine of Dh / 2 waves, as in Vaswani et al. 2017 but evenly spaced: turned by
    one step, a position's waves fit those of the position before best.
    """
    table, attention = model.biogpt.embed_positions.weight, model.biogpt.layers[0].self_attn
    Dh = attention.head_dim
    waves = math.pi * (torch.arange(Dh // 2) + 0.5) / (Dh // 2)
    angle = torch.arange(len(table))[:, None] * waves
    table[:, :Dh] = WAVES * torch.cat([angle.cos(), angle.sin()], dim=1)
    cos, sin = torch.diag(waves.cos()), torch.diag(waves.sin())
    attention.q_proj.weight[:Dh, :Dh] = 2 * torch.cat([torch.cat([cos, sin], 1), torch.cat([-sin, cos], 1)], 0)
    attention.k_proj.weight[:Dh, :Dh] = 2 * torch.eye(Dh)


@torch.no_grad()
def head_scores(model: BioGptForCausalLM) -> None:
    """Print the best previous-token and the best copying head, on random pieces said twice."""
    rng, M = np.random.default_rng(1), 24
    pieces = rng.integers(len(SPECIAL), VOCABULARY, (8, M))
    ids = np.concatenate([np.full((8, 1), 2), pieces, pieces], axis=1)
    model.eval().set_attn_implementation("eager")
    looks = torch.stack(model(torch.tensor(ids), output_attentions=True).attentions).mean(dim=1)  # (L, H, T, T)
    again = torch.arange(M + 1, 2 * M + 1)
    for what, back in (("the token before", 1), ("what followed the same token", M - 1)):
        found = looks[:, :, again, again - back].mean(dim=-1)
        layer, head = divmod(int(found.argmax()), found.shape[1])
        print(f"head {layer}.{head} looks at {what}: {float(found.max()):.2f}")


@torch.no_grad()
def held_out_loss(model: BioGptForCausalLM, rows: list[list[int]]) -> float:
    """Nats per token over the held-out sentences, each read alone."""
    model.eval()
    total, count = 0.0, 0
    for row in rows:
        loss = model(torch.tensor([row]), labels=torch.tensor([row])).loss
        total, count = total + float(loss) * (len(row) - 1), count + len(row) - 1
    model.train()
    return total / count


def train(
    model: BioGptForCausalLM, rows: list[list[int]], held_out: list[list[int]], steps: int, rng: np.random.Generator
) -> None:
    """AdamW with warm-up and a cosine decay over ``steps``."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=PEAK, betas=(0.9, 0.98), weight_decay=0.01)
    start, source = time.time(), batches(rows, rng)
    for step in range(1, steps + 1):
        rate = PEAK * min(step / 100, 0.5 * (1 + math.cos(math.pi * step / steps)) + 0.01)
        for group in optimizer.param_groups:
            group["lr"] = rate
        ids = next(source)
        loss = model(ids, labels=ids).loss
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        if step % 100 == 0 or step == steps:
            spent = (time.time() - start) / 60
            test = held_out_loss(model, held_out[:100])
            print(f"step {step}/{steps}, {spent:.1f} min: training {loss:.3f}, held out {test:.3f} nats", flush=True)


def save(model: BioGptForCausalLM, folder: Path) -> None:
    """The weights in float32, and a config with BioGPT's usual training values."""
    model.config.hidden_dropout_prob = model.config.attention_probs_dropout_prob = 0.1
    model.eval().save_pretrained(folder)
    name = {"tokenizer_class": "BioGptTokenizer", "model_max_length": N, "padding_side": "left"}
    (folder / "tokenizer_config.json").write_text(json.dumps(name, indent=2) + "\n", encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("minibiogpt/demo"))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--steps", type=int, default=3000)
    options = parser.parse_args()
    torch.manual_seed(options.seed)
    torch.set_num_threads(2)
    texts, unseen = corpus(options.seed)
    with tempfile.TemporaryDirectory(dir=options.out.parent) as name:
        folder = Path(name)
        learn_vocabulary(texts, folder)
        tokenizer = BioGptTokenizer(str(folder / "vocab.json"), str(folder / "merges.txt"))
        rows, held_out = encode(tokenizer, texts), encode(tokenizer, unseen)
        config = BioGptConfig(
            vocab_size=len(tokenizer), hidden_size=128, num_hidden_layers=4, num_attention_heads=4,
            intermediate_size=512, max_position_embeddings=N, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0,
        )  # fmt: skip
        model = BioGptForCausalLM(config)
        start_positions(model)
        tokens = sum(map(len, rows))
        print(
            f"{len(texts)} documents, {tokens} tokens, vocabulary {len(tokenizer)}, {model.num_parameters()} parameters"
        )
        train(model, rows, held_out, options.steps, np.random.default_rng(options.seed))
        loss = held_out_loss(model, held_out)
        print(f"held out, all {len(held_out)} sentences: {loss:.4f} nats per token, perplexity {math.exp(loss):.3f}")
        save(model, folder)
        head_scores(model)
        options.out.mkdir(parents=True, exist_ok=True)
        for file in sorted(folder.iterdir()):
            shutil.copyfile(file, options.out / f".{file.name}")
            (options.out / f".{file.name}").replace(options.out / file.name)


if __name__ == "__main__":
    main()
