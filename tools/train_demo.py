"""Train the demo checkpoint: corpus, vocabulary, weights. `python tools/train_demo.py --out minibiogpt/demo --seed 0`

Needs the extra `test` (PyTorch and transformers, which installs tokenizers). The result depends on the seed, and in the
last digits on the machine. Prints the loss on held-out sentences, and the best previous-token and induction heads.

Two things make this small model learn the heads that the notebooks show. Some rows repeat random tokens two or three
times, so that only copying can predict them. One head of the first layer is initialized to attend to the previous
position and then trained like everything else. The induction head emerges by itself.
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
REPEATED = 4  # rows per batch that repeat random tokens
WAVES = 1.2  # initial amplitude of the position waves; the other columns of the table start at 0.02


def moses(texts: list[str]) -> list[str]:
    """Return Moses tokens joined by spaces, as BioGPT's tokenizer does before its byte-pair merges."""
    tokenizer = sacremoses.MosesTokenizer(lang="en")
    return [tokenizer.tokenize(text, aggressive_dash_splits=True, return_str=True, escape=True) for text in texts]


def learn_vocabulary(texts: list[str], folder: Path) -> None:
    """Write vocab.json and merges.txt: every printable character inside and at the end of a word, then merges."""
    characters = [c for c in string.printable if not c.isspace()] + list(EXTRA)
    alphabet = [form for c in characters for form in (c, f"{c}</w>")]
    tokenizer = Tokenizer(models.BPE(end_of_word_suffix="</w>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    # the trainer has another alphabet and learns more merges than fit; only the first are kept
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
    """Return how often each merge joins its pair in the corpus when merges are applied in this order."""
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
    """Return the ids of each text as `</s> tokens </s>`, without unknown tokens."""
    rows = [[*tokenizer(text)["input_ids"], tokenizer.eos_token_id] for text in texts]
    assert not any(tokenizer.unk_token_id in row for row in rows), "the vocabulary must cover its own corpus"
    return rows


def batches(rows: list[list[int]], rng: np.random.Generator) -> Iterator[torch.Tensor]:
    """Yield (BATCH, N) ids forever: rows of documents in random order, and rows of repeated tokens."""
    while True:
        row: list[int] = []
        batch: list[list[int]] = []
        for i in rng.permutation(len(rows)):
            document = rows[i] if not row else rows[i][1:]  # the closing </s> opens the next document
            row += document
            if len(row) >= N:
                batch.append(row[:N])
                row = []
            if len(batch) == BATCH - REPEATED:
                yield torch.tensor(batch + [repeated(rng) for _ in range(REPEATED)])
                batch = []


def repeated(rng: np.random.Generator) -> list[int]:
    """Return N ids: `</s>`, some random tokens two or three times, and so on until the row is full."""
    row: list[int] = []
    while len(row) < N:
        tokens = rng.integers(len(SPECIAL), VOCABULARY, int(rng.integers(4, 40))).tolist()
        row += [SPECIAL.index("</s>"), *tokens * int(rng.integers(2, 4))]
    return row[:N]


@torch.no_grad()
def start_positions(model: BioGptForCausalLM) -> None:
    """Initialize the positions as waves, and head 0 of layer 0 to attend to the previous position.

    The first Dh columns are cosine and sine of Dh / 2 waves, as in Vaswani et al. 2017 but with evenly spaced
    frequencies. The query rotates the waves by one step, so that they match those of the previous position best.
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
    """Print the best previous-token head and the best induction head, measured on random tokens repeated once."""
    rng, M = np.random.default_rng(1), 24
    tokens = rng.integers(len(SPECIAL), VOCABULARY, (8, M))
    ids = np.concatenate([np.full((8, 1), 2), tokens, tokens], axis=1)
    model.eval().set_attn_implementation("eager")
    weights = torch.stack(model(torch.tensor(ids), output_attentions=True).attentions).mean(dim=1)  # (L, H, T, T)
    second = torch.arange(M + 1, 2 * M + 1)
    for what, back in (("the previous token", 1), ("the token that followed the same token before", M - 1)):
        found = weights[:, :, second, second - back].mean(dim=-1)
        layer, head = divmod(int(found.argmax()), found.shape[1])
        print(f"head {layer}.{head} attends to {what}: {float(found.max()):.2f}")


@torch.no_grad()
def held_out_loss(model: BioGptForCausalLM, rows: list[list[int]]) -> float:
    """Return the loss in nats per token over the held-out sentences, one at a time."""
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
    """Train with AdamW, warm-up and cosine decay over ``steps``."""
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
            minutes = (time.time() - start) / 60
            test = held_out_loss(model, held_out[:100])
            print(f"step {step}/{steps}, {minutes:.1f} min: training {loss:.3f}, held out {test:.3f} nats", flush=True)


def save(model: BioGptForCausalLM, folder: Path) -> None:
    """Save the weights in float32, and the config with BioGPT's usual dropout."""
    model.config.hidden_dropout_prob = model.config.attention_probs_dropout_prob = 0.1
    model.eval().save_pretrained(folder)
    settings = {"tokenizer_class": "BioGptTokenizer", "model_max_length": N, "padding_side": "left"}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")


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
