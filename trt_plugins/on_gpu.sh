#!/usr/bin/env bash
# Runs what needs a GPU, in order of value: times the kernels, checks them, and meanwhile trains the edge model. It runs in
# calls of limited length, each of which continues where the last one stopped, and leaves its results under $OUT (out/gpu
# if that is not set).
#
#   trt_plugins/on_gpu.sh pack MOTION.npz HDRI_FOLDER [GARMENTS_FOLDER]
#       on any machine: packs what the GPU machine needs and cannot fetch into build/gpu (< 64 MiB)
#   [MINUTES=M] [LAST=1] trt_plugins/on_gpu.sh [SECONDS]
#       on the GPU machine: runs for SECONDS (570 if not given). MINUTES is the length of training over all calls; LAST says
#       that this call is the last one, and that training ends with it
#
# A new machine continues from the weights of an earlier one if its $OUT/edge_gpu.pt is put into build/gpu first.
set -euo pipefail
cd "$(dirname "$0")/.."
HERE=build/gpu

pack() {
    mkdir -p "$HERE/wheels" "$HERE/hdri"
    python3 -m pip download --quiet --dest "$HERE/wheels" --only-binary :all: --python-version "${GPU_PYTHON:-3.12}" \
        --platform manylinux2014_x86_64 --platform manylinux_2_28_x86_64 msgspec tyro safetensors
    python=$([ -x .venv/bin/python ] && echo .venv/bin/python || echo python3)
    # What training starts from, and BlazePose's own weights, to which it holds the backbone: the GPU machine has neither
    # onnx to read a bundle nor OpenVINO to read the .tflite.
    "$python" -m training.checkpoint --from-bundle "$HERE/start.pt"
    "$python" -m training.checkpoint --from-bundle "$HERE/own.pt" --own 1
    cp --force "$1" "$HERE/motion.npz"
    # Seven tenths as wide: places are seen through narrow crops, and half of the bytes.
    "$python" - "$2" "$HERE/hdri" <<'SHRINK'
import sys
from pathlib import Path

import cv2

for file in Path(sys.argv[1]).glob("*.hdr"):
    picture = cv2.imread(str(file), cv2.IMREAD_UNCHANGED)
    small = cv2.resize(picture, None, fx=0.7, fy=0.7, interpolation=cv2.INTER_AREA)
    cv2.imwrite(str(Path(sys.argv[2]) / file.name), small)
SHRINK
    if [ -n "${3:-}" ]; then # geometry and bindings only: textures are not used
        (cd "$3" && find . \( -name '*.obj' -o -name '*.mhclo' \) -print0 | tar --null --files-from - --create --xz) \
            >"$HERE/garments.tar.xz"
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
# Each stage runs once: a stamp marks it as done.
stage() { [ ! -e "$RUN/$1.done" ] && [ "$(left)" -gt "$2" ]; }
within() { local most=$1 now; now=$(left); echo $((now < most ? now : most)); }
shards() { find "$RUN/store" -maxdepth 1 -name '[!.]*-[0-9][0-9][0-9][0-9]' 2>/dev/null | wc -l; }

python3 -c 'import msgspec, tyro, safetensors' 2>/dev/null || python3 -m pip install --quiet --no-index --find-links "$HERE/wheels" msgspec tyro safetensors
python3 -c 'import sys, torch; torch.cuda.is_available() or sys.exit("trt_plugins/on_gpu.sh: torch finds no GPU on this machine")'
python3 -c 'import torch; print(torch.__version__, torch.cuda.get_device_name())' | tee "$OUT/device.txt"

# People are rendered from the first second, on all cores except the trainer's and the tests'.
export OMP_NUM_THREADS=1 NUMBA_NUM_THREADS=1
trap 'kill $(jobs -p) 2>/dev/null || true' EXIT
TRAINS=
if [ -e "$HERE/motion.npz" ]; then
    TRAINS=1
    assets=(--motion "$HERE/motion.npz" --hdri "$HERE/hdri")
    if [ -e "$HERE/garments.tar.xz" ]; then
        [ -d "$RUN/garments" ] || { mkdir "$RUN/garments" && tar --extract --file "$HERE/garments.tar.xz" --directory "$RUN/garments"; }
        assets+=(--garments "$RUN/garments")
    fi
    if [ ! -d "$RUN/held/held900-0000" ]; then
        python3 -m training.produce "$RUN/held" --rows 640 --held-out --seed 900 "${assets[@]}" >"$RUN/held.log" 2>&1 &
    fi
    round=$(date +%s) # so that no two calls, on any machine, render the same people
    for core in $(seq $((CORES > 4 ? CORES - 3 : 1))); do
        python3 -m training.produce "$RUN/store" --seed $((1000 * round + core)) --close 0.22 --webcam 0.15 --around 0.1 "${assets[@]}" \
            >"$RUN/produce$core.log" 2>&1 &
    done
fi

if stage timed 100; then # while nothing else uses the GPU
    if timeout "$(within 150)" python3 -m refit_rt bench kernels --markdown >"$OUT/bench_cuda.txt" 2>&1; then touch "$RUN/timed.done"; fi
    tail -30 "$OUT/bench_cuda.txt"
fi

if stage kernels 120; then # compute-sanitizer runs among these tests; training does not wait for them
    (
        status=0
        timeout "$(within 300)" python3 -m pytest -m gpu -q -o filterwarnings=default -rs tests/trt_plugins/test_kernels.py tests/trt_plugins/test_gpu.py \
            >"$OUT/kernels.txt" 2>&1 || status=$?
        if [ "$status" -le 1 ]; then touch "$RUN/kernels.done"; fi # ran to its end, passed or failed
    ) &
    kernels=$!
fi

if [ -n "$TRAINS" ] && [ "$(left)" -gt 90 ]; then
    # Wait for one shard per producer: the network would learn the first few by heart.
    until [ "$(shards)" -ge $((CORES > 4 ? CORES - 3 : 1)) ] || [ "$(left)" -lt 60 ]; do sleep 1; done
    echo "$(shards) shards after $SECONDS s"
    if [ ! -e "$RUN/recipe.yaml" ]; then
        cp training/configs/edge_gpu.yaml "$RUN/first.yaml"
        if [ -e "$HERE/edge_gpu.pt" ]; then sed -i "s|^start_from:.*|start_from: $HERE/edge_gpu.pt|" "$RUN/first.yaml"; fi
        if [ ! -d "$RUN/held/held900-0000" ]; then sed -i '/^held_out:/d' "$RUN/first.yaml"; fi
        timeout 90 python3 -m training.trial "$RUN/first.yaml" --more 4 --into "$RUN/trial.yaml" 2>&1 | tee "$OUT/trial.txt" || true
        [ -e "$RUN/trial.yaml" ] || cp "$RUN/first.yaml" "$RUN/trial.yaml"
        mv "$RUN/trial.yaml" "$RUN/recipe.yaml"
    fi
    # The learning rate falls over all calls: over MINUTES of training, or until the end of this call if it is the last.
    minutes=${MINUTES:-}
    if [ "${LAST:-}" ] && [ -e "$RUN/last.pt" ]; then
        minutes=$(python3 -c 'import sys, torch; done = torch.load(sys.argv[1], mmap=True)["seconds"]
print((done + float(sys.argv[2])) / 60)' "$RUN/last.pt" $(($(left) - 50)))
    fi
    if [ "$minutes" ]; then sed -i "s|^minutes:.*|minutes: $minutes|" "$RUN/recipe.yaml"; fi
    timeout --signal=INT --kill-after=20 $(($(left) - 30)) python3 -m training.train "$RUN/recipe.yaml" >>"$OUT/train.txt" 2>&1 || true
    tail -25 "$OUT/train.txt"
    if [ -e "$RUN/last.pt" ]; then python3 -m training.checkpoint "$RUN/last.pt" "$OUT/edge_gpu.pt"; fi
fi
if [ "${kernels:-}" ]; then
    wait "$kernels" || true # its own limit ends it
    tail -25 "$OUT/kernels.txt"
fi
ls -l "$OUT"
