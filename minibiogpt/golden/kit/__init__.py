"""The conformance kit: tiny models, cases that expose what ordinary inputs hide, tokenizer cases, a README."""
