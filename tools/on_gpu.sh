#!/usr/bin/env bash
# What waits for a GPU, in order of value: the kernels checked, the kernels timed, the edge model trained. Runs in calls of
# limited length and goes on where the last one stopped; what it leaves lies under $OUT (out/gpu if that is not set).
#
#   tools/on_gpu.sh pack MOTION HDRI_FOLDER   on any machine: what that one needs and cannot fetch, into build/gpu (< 64 MiB)
#   tools/on_gpu.sh [SECONDS]                 on the machine with the GPU, from the repository's root; 570 if not given
#
# A new machine that gets build/gpu/edge_gpu.pt (an earlier call's $OUT/edge_gpu.pt) trains on from that.
set -euo pipefail
cd "$(dirname "$0")/.."
HERE=build/gpu

pack() {
    mkdir -p "$HERE/wheels" "$HERE/hdri"
    python3 -m pip download --quiet --dest "$HERE/wheels" --only-binary :all: --python-version "${GPU_PYTHON:-3.12}" \
        --platform manylinux2014_x86_64 --platform manylinux_2_28_x86_64 msgspec tyro
    if [ -d "$1" ]; then cp "$1"/*.npz "$HERE/motion.npz"; else cp "$1" "$HERE/motion.npz"; fi
    cp "$2"/*.hdr "$HERE/hdri/"
    du -sh "$HERE"
}

if [ "${1:-}" = pack ]; then
    pack "$2" "$3"
    exit
fi

SECONDS_LEFT=${1:-570}
END=$((SECONDS + SECONDS_LEFT))
OUT=${OUT:-out/gpu}
RUN=runs/gpu
CORES=$(nproc)
mkdir -p "$OUT" "$RUN"
left() { echo $((END - SECONDS)); }
# Each stage once: a stamp says that it was done.
stage() { [ ! -e "$RUN/$1.done" ] && [ "$(left)" -gt "$2" ]; }

python3 -c 'import msgspec, tyro' 2>/dev/null || python3 -m pip install --quiet --no-index --find-links "$HERE/wheels" msgspec tyro
python3 -c 'import sys, torch; torch.cuda.is_available() or sys.exit("tools/on_gpu.sh: torch sees no GPU here")'
python3 -c 'import torch; print(torch.__version__, torch.cuda.get_device_name())' | tee "$OUT/device.txt"

if stage kernels 120; then # compute-sanitizer runs among these tests
    timeout 280 python3 -m pytest -m gpu -q -o filterwarnings=default -rs tests/test_trt_kernels.py tests/test_trt_gpu.py 2>&1 |
        tee "$OUT/kernels.txt" | tail -15 || true
    touch "$RUN/kernels.done"
fi

if stage timed 100; then
    timeout 120 python3 -m tools.bench_cuda 2>&1 | tee "$OUT/bench_cuda.txt" | tail -30 || true
    touch "$RUN/timed.done"
fi

# The rest of the time trains. People are rendered beside it, on all cores but the trainer's four.
if [ "$(left)" -gt 90 ] && [ -e "$HERE/motion.npz" ]; then
    export OMP_NUM_THREADS=1 NUMBA_NUM_THREADS=1
    assets=(--motion "$HERE/motion.npz" --hdri "$HERE/hdri")
    [ -d "$RUN/held" ] || timeout 120 python3 -m training.produce "$RUN/held" --rows 640 --held-out --seed 900 "${assets[@]}"
    round=$(find "$RUN" -maxdepth 1 -name 'round*' | wc -l)
    touch "$RUN/round$round"
    for core in $(seq $((CORES > 5 ? CORES - 4 : 1))); do
        timeout "$(left)" python3 -m training.produce "$RUN/store" --seed $((1000 * (round + 1) + core)) "${assets[@]}" \
            >"$RUN/produce$core.log" 2>&1 &
    done
    until [ -n "$(find "$RUN/store" -maxdepth 1 -name '[!.]*-0000' 2>/dev/null)" ] || [ "$(left)" -lt 60 ]; do sleep 1; done
    recipe=training/configs/edge_gpu.yaml
    if [ ! -e "$RUN/last.pt" ] && [ -e "$HERE/edge_gpu.pt" ]; then
        sed "s|^start_from:.*|start_from: $HERE/edge_gpu.pt|; s|^minutes:.*|minutes: ${GPU_MINUTES:-8}|" "$recipe" >"$RUN/recipe.yaml"
        recipe=$RUN/recipe.yaml
    fi
    timeout --signal=INT --kill-after=25 $(($(left) - 35)) python3 -m training.train "$recipe" 2>&1 | tee -a "$OUT/train.txt" | tail -15 || true
    kill $(jobs -p) 2>/dev/null || true
    [ -e "$RUN/last.pt" ] && python3 -m training.checkpoint "$RUN/last.pt" "$OUT/edge_gpu.pt"
fi
ls -l "$OUT"
