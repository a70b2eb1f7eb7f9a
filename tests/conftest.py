"""What the whole suite shares: no network, two threads, hypothesis without chance or clock."""

import os

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")

import hypothesis
import torch

torch.set_num_threads(2)
hypothesis.settings.register_profile("still", derandomize=True, deadline=None, max_examples=25)
hypothesis.settings.load_profile("still")
