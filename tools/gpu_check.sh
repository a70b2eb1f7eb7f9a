#!/usr/bin/env bash
# Run everything that needs a GPU: the tests of the CuPy backend, a table of quantized weights, the benchmarks against
# transformers, the targets.
#
#   bash tools/gpu_check.sh [RESULTS FOLDER]      (default: gpu-results in the current folder)
#
# PYTHON=...    the interpreter (python3). It needs numpy, safetensors, sacremoses, tqdm, cupy, ml_dtypes, pytest and
#               hypothesis, and for the benchmarks also torch and transformers. This repository need not be installed.
# SIZE_LARGE=1  also measure the size of BioGPT-Large: 6.3 GB of random weights, kept in ~/.cache (or $XDG_CACHE_HOME).
# ROUNDS=3      measurements of each side.
#
# Exit codes: 0 all tests pass and all targets are reached, 1 otherwise, 2 nothing can be tested because there is no
# device or a package is missing.
set -euo pipefail

case ${1:-} in -h | --help) sed -n '2,/^$/s/^# \{0,1\}//p' "$0"; exit 0 ;; esac
python=${PYTHON:-python3}
case $python in /*) ;; */*) python=$PWD/$python ;; esac
results=${1:-gpu-results}
rounds=${ROUNDS:-3}
folder=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
case $results in /*) ;; *) results=$PWD/$results ;; esac
cd "$folder"
export PYTHONPATH="$folder${PYTHONPATH:+:$PYTHONPATH}"

needed="numpy, safetensors, sacremoses, tqdm, ml_dtypes, pytest, hypothesis"
if ! "$python" -c "import $needed" 2>/dev/null; then
    echo "gpu_check needs an interpreter with $needed; found ${PYTHON:-python3}; install the packages, or set PYTHON" >&2
    exit 2
fi
device=$("$python" -m tools.benching.device cupy) || exit 2
mkdir -p "$results"
rm -f "$results"/base-*.json "$results"/large-*.json # of an earlier run; otherwise the targets would read them
echo "$device" | tee "$results/device.txt"
status=0

peer=yes
"$python" -c 'import torch, transformers' 2>/dev/null || peer=no
echo
echo "== tests" # -W default: warnings of the GPU libraries are not failures
tests=(tests/backend/test_cupy.py tests/backend/test_cupy_errors.py tests/generation/test_captured.py tests/backend/test_kernels.py)
tests+=(tests/backend/test_kernels_inside.py tests/backend/test_cupy_names.py)
tests+=(tests/quantization/test_packed_kernels.py tests/quantization/test_on_a_device.py)
"$python" -m pytest -q -rs -W default -p no:cacheprovider "${tests[@]}" 2>&1 | tee "$results/tests.txt" || status=1

echo
echo "== quantized weights, beside float16"
"$python" -m tools.benching.quantized cupy base 2>&1 | tee "$results/quantized.txt" || status=1
if [ "${SIZE_LARGE:-0}" = 1 ]; then
    "$python" -m tools.benching.quantized cupy large 2>&1 | tee -a "$results/quantized.txt" || status=1
fi

if [ $peer = no ]; then
    echo
    echo "left out: the benchmarks and the targets, because they need torch and transformers"
    exit $status
fi

bench() { # SIZE DTYPE BENCHMARK [OPTIONS]
    local report="$results/$1-$2-$3.json"
    echo
    echo "== bench $*"
    if "$python" tools/bench.py "$3" --backend cupy --dtype "$2" --size "$1" --rounds "$rounds" --peers sdpa --json \
        "${@:4}" >"$report.part"; then
        mv "$report.part" "$report"
        "$python" -m tools.benching.table "$report"
    else
        rm -f "$report.part"
        status=1
    fi
}

bench base float16 decode
bench base float16 prefill --tokens 128,1000
bench base float16 batch
bench base float16 memory
bench base float32 decode
bench base float32 prefill --tokens 128,1000
if [ "${SIZE_LARGE:-0}" = 1 ]; then
    bench large float16 decode
    bench large float16 memory
fi

echo
echo "== targets"
"$python" -m tools.benching.targets "$results" | tee "$results/targets.txt" || status=1
echo "results are in $results"
exit $status
