"""Every tolerance of the test suite, with what was measured and when."""

# erf against math.erf, largest absolute error over 250,000 points of [-7, 7] and N(0, 2), 2026-11-21:
# float64 2.3e-16 (1 ulp of 1), float32 9.7e-8 (0.8 ulp of 1). The promise: 1e-15, and 2 ulp of 1.
ERF_FLOAT64_ABSOLUTE = 5e-16
ERF_FLOAT32_ABSOLUTE = 2.4e-7

# Lane A: float64 against PyTorch's float64; the largest difference over the largest value of the tensor.
LANE_A = 1e-10
