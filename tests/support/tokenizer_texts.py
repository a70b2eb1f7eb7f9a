"""About two thousand texts, generated from a seed, to test a tokenizer for biomedical text."""

from __future__ import annotations

import random

WRITTEN = [
    "", " ", "\n", "\t \n", "a", ".", "...", "....", "-", "--", "a-b", "a--b", "-a-", "x - y", "3-5", "IL-2-induced", "β-blocker",
    "Trastuzumab", "COVID-19 is", "5'-AMP", "don't", "patients' data", "the patient's", "'quoted'", '"quoted"', "``x''", "''''",
    "Ph.D.", "e.g. this", "Dr. Smith, M.D.", "No. 5", "Fig. 2A", "p < 0.05", "p<0.001", "a > b", "R&D", "AT&T;", "a|b", "[1]", "[1,2]",
    "&amp;", "&lt;b&gt;", "&apos;", "&#124;", "&nbsp;", "1,000", "1,000.5", "1.5 mg/kg", "10%", "37°C", "±2", "µg", "μm", "α", "αβγ",
    "TNF-α", "IFN-γ+", "→", "“x”", "‘x’", "…", "–", "—", "a–b", "汉字", "日本語のテキスト", "한국어", "العربية", "עברית", "🙂", "👩‍⚕️", "e\u0301",
    "é", "ﬁ", "½", "x²", "\u00a0x\u00a0", "\u200b", "a\u200bb", "\x00", "a\x00b", "\x07bell", "\x1f", "\ufeffx", "\ud7ff", "@-@",
    "a @-@ b", "a@b.com", "http://x.org/a_b?c=d", "#tag", "@user", "$5", "€5", "C++", "a/b", "and/or", "a\\b", "_x_", "{x}", "(x)",
    "((x))", "x,y", "x ,y", "1,a", "a,1", "?!", "!!!", "can't've", "O'Neill", "rock 'n' roll", "1990's", "'90s", "</s>", "<s>", "a</s>b",
    "<pad><unk>", "</s></s>", "a </s> b", "< s >", "</S>", "<unk>x", "</w>", "x</w>y", "DOTMULTI", "a DOTDOTMULTI b", "._.", "a.b.c",
    "U.S.A.", "i.v.", "DOTMULTI DOTMULTI abc", "DOT..MULTI", "DOT\x00MULTI", "DOT MULTI", "[DOTMULTI]...", "see https://doi.org/10.1000/xyz-123?a=b&c=d#e",
    "x\x1fy", "a\x85b", "\ud800", "a\u2028b", "．．．", "1-2-3-4", "a\u00adb", "\U0001f9ec DNA", "if...else", "end..", ".'", "'a.'", "a.' ", "\"a.\"",
    "A" * 400, "ab" * 300, "a-" * 200, "." * 50, "x" * 30 + "." * 30, "Hello   World", " leading", "trailing ",
]  # fmt: skip
WORDS = """the patient was treated with ibuprofen trastuzumab methotrexate for rheumatoid arthritis HER2-positive breast
cancer BRCA1 TP53 p53 IL-6 TNF-α CD4+ T-cells Na+/K+-ATPase 5-HT3 1,25-dihydroxyvitamin D3 10 mg/kg 0.05 3.5% n=42 SARS-CoV-2
Escherichia coli (E. coli) in vitro in vivo double-blind randomized placebo-controlled trial; p<0.001 95% CI [1.2, 3.4] vs. et al.
Fig. 3B see Table 2. however, thus: "significant" 'so-called' patients' women's don't 37°C µM ng/mL ≥65 ±0.2 β-catenin → κB""".split()
ALPHABET = "abcXYZ019 .,-'\"&<>|[]()/%+=*~^_;:!?@#$\\\n\tαβéµ°±≥中字🙂\u00a0\u200b\x01"


SPECIAL = ["<s>", "<pad>", "</s>", "<unk>"]


def texts(seed: int = 0, count: int = 2000) -> list[str]:
    """Return ``WRITTEN``, sentences of biomedical words, random strings, and mixtures with special tokens."""
    rng = random.Random(seed)
    made = list(WRITTEN)
    while len(made) < count:
        kind = rng.random()
        if kind < 0.4:
            made.append(rng.choice([" ", " ", "  ", "-"]).join(rng.choices(WORDS, k=rng.randint(1, 30))))
        elif kind < 0.7:
            made.append("".join(rng.choices(ALPHABET, k=rng.randint(1, 60))))
        else:
            short = [text for text in WRITTEN if len(text) < 30]
            parts = rng.choices(short, k=rng.randint(2, 6)) + rng.choices(SPECIAL, k=rng.randint(0, 2))
            rng.shuffle(parts)
            made.append(rng.choice(["", "", " ", "\n"]).join(parts))
    return made
