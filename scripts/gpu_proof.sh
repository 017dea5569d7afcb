#!/usr/bin/env bash
# The CUDA backend on a real GPU: the tests of its kernels and models, NVIDIA's own checkers over them, and
# the engine's speed with random weights of Llama 3 8B. Packed where there is a network, run where there is a
# GPU: nothing is fetched or compiled there, and it takes ten minutes at most.
#
#   scripts/gpu_proof.sh pack         builds (./run --cuda has been here) and packs into build/gpu-proof
#   scripts/gpu_proof.sh run [OUT]    on the GPU machine, in the repository's root; figures and logs in OUT
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
packed=build/gpu-proof
programs=(build/sluice-bench-engine build/tests/kernels/cuda/cuda_native_test
  build/tests/kernels/cuda/cuda_native_model_test build/libsluice_cuda.so)

pack() {
  ninja -C build sluice-bench-engine sluice_cuda cuda_native_test cuda_native_model_test
  rm -rf "$packed"
  mkdir -p "$packed/programs"
  local program library model
  for program in "${programs[@]}"; do
    strip -o "$packed/programs/${program##*/}" "$program"
    # What the machine there may not have; its libc must be as new as the one here.
    ldd "$program" | awk '$3 ~ /fmt|spdlog/ { print $3 }' | while read -r library; do
      cp -n "$library" "$packed/programs/"
    done
  done
  cp bench/llama-3-8b.json "$packed/programs/"
  mkdir -p "$packed/programs/tests/golden"
  cp -r tests/golden/quantised "$packed/programs/tests/golden/"
  tar -C "$packed" -cJf "$packed/programs.tar.xz" programs
  rm -r "$packed/programs"
  # In two pieces, where only so much can travel at once. Without it one test is skipped.
  model=${SLUICE_TEST_MODEL:-${XDG_CACHE_HOME:-$HOME/.cache}/sluice/models/SmolLM2-135M-Instruct.Q4_1.gguf}
  if [ -e "$model" ]; then split -n 2 -d -a 1 "$model" "$packed/model."; fi
  ls -sh "$packed" >&2
}

run() {
  local out=${1:-build/gpu-proof-results} began=$SECONDS
  mkdir -p "$out"
  out=$(cd "$out" && pwd)
  tar -C "$packed" -xJf "$packed/programs.tar.xz"
  cd "$packed/programs"
  export LD_LIBRARY_PATH=$PWD${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}
  # cuBLASLt, wherever the machine has it: a toolkit, or beside PyTorch.
  local cublas
  cublas=$(find /usr /opt /root /home -name libcublasLt.so.13 2>/dev/null | head -n 1)
  if [ -n "$cublas" ]; then LD_LIBRARY_PATH+=:$(dirname "$cublas"); fi
  if cat ../model.0 ../model.1 >model.gguf 2>/dev/null; then export SLUICE_TEST_MODEL=$PWD/model.gguf; fi
  left() { echo $((560 - (SECONDS - began))); }
  # part NAME SECONDS COMMAND…: its words to OUT/NAME.txt; what fails is told and the next part goes on.
  local failed=0
  part() {
    local name=$1 most=$2 status=0
    shift 2
    if [ "$(left)" -lt 5 ]; then echo "$name: no time is left"; return; fi
    [ "$most" -le "$(left)" ] || most=$(left)
    timeout "$most" "$@" >"$out/$name.txt" 2>&1 || status=$?
    if grep -q '\[  PASSED  \] 0 tests' "$out/$name.txt"; then status='all skipped'; fi
    echo "$name: $([ "$status" = 0 ] && echo passed || echo "FAILED ($status)") after $((SECONDS - began)) s"
    tail -n 3 "$out/$name.txt" | sed 's/^/    /'
    [ "$status" = 0 ] || failed=1
  }
  part gpu 20 nvidia-smi
  part kernels 90 ./cuda_native_test --gtest_brief=1
  part models 90 ./cuda_native_model_test --gtest_brief=1
  local bench=(./sluice-bench-engine llama-3-8b.json --load-format dummy --device cuda)
  part bench 150 "${bench[@]}" --batch 1,32,256 --prompt 2048,8192 --json "$out/bench.json"
  part bench-fp8-cache 90 "${bench[@]}" --batch 32,256 --prompt 8192 --kv-cache-dtype f8 --rounds 2 \
    --json "$out/bench-fp8-cache.json"
  part bench-fp8 60 "${bench[@]}" --batch 1,32 --prompt 8192 --dummy-weights F8 --rounds 1 \
    --json "$out/bench-fp8.json"
  part bench-int4 60 "${bench[@]}" --batch 1,32 --prompt 2048 --dummy-weights I4_64 --rounds 1 \
    --json "$out/bench-int4.json"
  part bench-eager 60 "${bench[@]}" --batch 1,32 --prompt 512 --rounds 1 --enforce-eager \
    --no-async-scheduling --json "$out/bench-eager.json"
  part bench-deterministic 60 "${bench[@]}" --batch 1,32 --prompt 512 --rounds 1 --deterministic \
    --json "$out/bench-deterministic.json"
  if type compute-sanitizer >/dev/null 2>&1; then
    local tool
    for tool in memcheck racecheck synccheck; do
      part "$tool" 60 compute-sanitizer --tool "$tool" --error-exitcode 9 \
        ./cuda_native_test --gtest_brief=1
    done
  fi
  return $failed
}

case ${1:-} in
  pack) pack ;;
  run) run "${2:-}" ;;
  *) sed -n 's/^# \{0,1\}//p' "$0" | sed -n 2,8p >&2; exit 2 ;;
esac
