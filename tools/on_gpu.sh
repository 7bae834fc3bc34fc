#!/usr/bin/env bash
# What waits for a GPU, in order of value: the kernels checked, the kernels timed, the edge model trained. Runs in calls of
# limited length and goes on where the last one stopped; what it leaves lies under $OUT (out/gpu if that is not set).
#
#   tools/on_gpu.sh pack MOTION.npz HDRI_FOLDER [GARMENTS_FOLDER]
#       on any machine: what that one needs and cannot fetch, into build/gpu (< 64 MiB)
#   tools/on_gpu.sh [SECONDS]
#       on the machine with the GPU, from the repository's root; 570 if not given
#
# A new machine trains on from an earlier one's weights if its $OUT/edge_gpu.pt is put into build/gpu before.
set -euo pipefail
cd "$(dirname "$0")/.."
HERE=build/gpu

pack() {
    mkdir -p "$HERE/wheels" "$HERE/hdri"
    python3 -m pip download --quiet --dest "$HERE/wheels" --only-binary :all: --python-version "${GPU_PYTHON:-3.12}" \
        --platform manylinux2014_x86_64 --platform manylinux_2_28_x86_64 msgspec tyro
    # BlazePose's own weights, to which training holds the backbone: there is no OpenVINO there to read the .tflite.
    "$([ -x .venv/bin/python ] && echo .venv/bin/python || echo python3)" -m training.checkpoint \
        training/checkpoints/edge.pt "$HERE/own.pt" --own 1
    cp "$1" "$HERE/motion.npz"
    cp "$2"/*.hdr "$HERE/hdri/"
    if [ -n "${3:-}" ]; then # geometry and bindings only: textures are not used
        (cd "$3" && find . \( -name '*.obj' -o -name '*.mhclo' \) -print0 | tar --null --files-from - --create) |
            (mkdir -p "$HERE/garments" && tar --extract --directory "$HERE/garments")
    fi
    du -sh "$HERE"
}

if [ "${1:-}" = pack ]; then
    pack "$2" "$3" "${4:-}"
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
within() { local most=$1 now; now=$(left); echo $((now < most ? now : most)); }

python3 -c 'import msgspec, tyro' 2>/dev/null || python3 -m pip install --quiet --no-index --find-links "$HERE/wheels" msgspec tyro
python3 -c 'import sys, torch; torch.cuda.is_available() or sys.exit("tools/on_gpu.sh: torch sees no GPU here")'
python3 -c 'import torch; print(torch.__version__, torch.cuda.get_device_name())' | tee "$OUT/device.txt"

if stage kernels 120; then # compute-sanitizer runs among these tests
    status=0
    timeout "$(within 300)" python3 -m pytest -m gpu -q -o filterwarnings=default -rs tests/test_trt_kernels.py tests/test_trt_gpu.py \
        >"$OUT/kernels.txt" 2>&1 || status=$?
    tail -25 "$OUT/kernels.txt"
    if [ "$status" -le 1 ]; then touch "$RUN/kernels.done"; fi # ran to its end, passed or failed
fi

if stage timed 100; then
    if timeout "$(within 150)" python3 -m tools.bench_cuda >"$OUT/bench_cuda.txt" 2>&1; then touch "$RUN/timed.done"; fi
    tail -30 "$OUT/bench_cuda.txt"
fi

# The rest of the time trains. People are rendered beside it, on all cores but the trainer's four.
if [ "$(left)" -gt 90 ] && [ -e "$HERE/motion.npz" ]; then
    export OMP_NUM_THREADS=1 NUMBA_NUM_THREADS=1
    assets=(--motion "$HERE/motion.npz" --hdri "$HERE/hdri")
    if [ -d "$HERE/garments" ]; then assets+=(--garments "$HERE/garments"); fi
    if [ ! -d "$RUN/held/held900-0000" ]; then
        timeout "$(within 150)" python3 -m training.produce "$RUN/held" --rows 640 --held-out --seed 900 "${assets[@]}" || true
    fi
    round=$(date +%s) # no two calls, on whatever machine, render the same people
    for core in $(seq $((CORES > 5 ? CORES - 4 : 1))); do
        timeout "$(left)" python3 -m training.produce "$RUN/store" --seed $((1000 * round + core)) --close 0.22 "${assets[@]}" \
            >"$RUN/produce$core.log" 2>&1 &
    done
    until [ -n "$(find "$RUN/store" -maxdepth 1 -name '[!.]*-0000' 2>/dev/null)" ] || [ "$(left)" -lt 60 ]; do sleep 1; done
    recipe=training/configs/edge_gpu.yaml
    if [ ! -e "$RUN/recipe.yaml" ]; then
        cp "$recipe" "$RUN/recipe.yaml"
        if [ -e "$HERE/edge_gpu.pt" ]; then
            sed -i "s|^start_from:.*|start_from: $HERE/edge_gpu.pt|; s|^minutes:.*|minutes: ${GPU_MINUTES:-8}|" "$RUN/recipe.yaml"
        fi
        if [ ! -d "$RUN/held/held900-0000" ]; then sed -i '/^held_out:/d' "$RUN/recipe.yaml"; fi
    fi
    recipe=$RUN/recipe.yaml
    timeout --signal=INT --kill-after=25 $(($(left) - 35)) python3 -m training.train "$recipe" 2>&1 | tee -a "$OUT/train.txt" | tail -15 || true
    kill $(jobs -p) 2>/dev/null || true
    if [ -e "$RUN/last.pt" ]; then python3 -m training.checkpoint "$RUN/last.pt" "$OUT/edge_gpu.pt"; fi
fi
ls -l "$OUT"
