"""The conformance kit: tiny models, cases that expose mistakes ordinary inputs hide, tokenizer cases, a README."""
