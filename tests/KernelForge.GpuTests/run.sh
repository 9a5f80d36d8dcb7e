#!/usr/bin/env bash
# Tests, tries and measures KernelForge on the GPU of this machine, which needs an NVIDIA driver and nothing else. Leaves report.txt.
#
#   ./run.sh [--quick]      --quick: a few prompts and small benchmarks, for a slow device
#
# KERNELFORGE_CUDA_DRIVER=PATH names another driver library, such as the emulator. Exit code 0 when every step was good.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

# Fewer CUDA tests than this mean that they were not found.
floor=500
prompts=samples/tickets/prompts.jsonl
benchmarks=('*.Cuda*' '*.PipelineBench*')
options=()
if [ "${1:-}" = --quick ]; then
  prompts=quick.jsonl benchmarks=('*.CudaRowOperatorsBench*Rows: 64*SiluMul*' '*.CudaMatMulPackedBench.Packed*512x256*' '*.CudaRealignBench.Realign*2x64*' '*.CudaVerifyDraftsBench*Rows: 32*') options=(--kv-memory 64M)
  head -n 4 samples/tickets/prompts.jsonl > $prompts
fi

export KF_REQUIRE_CUDA=1 DOTNET_gcServer=0
summary=()
bad=0

# Runs a command as a step of the report.
step() {
  local name=$1 start=$SECONDS status
  shift
  printf '\n== %s\n$ %s\n' "$name" "$*"
  "$@" 2>&1
  status=$?
  [ $status -eq 0 ] || bad=1
  summary+=("$(printf '%-12s exit code %d, %d s' "$name" $status $((SECONDS - start)))")
}

environment() {
  date -u '+%Y-%m-%d %H:%M UTC'
  uname -srm
  grep -m1 'model name' /proc/cpuinfo
  [ -z "${KERNELFORGE_CUDA_DRIVER:-}" ] || echo "driver library: ${KERNELFORGE_CUDA_DRIVER##*/}"
  if command -v nvidia-smi >/dev/null; then
    nvidia-smi --query-gpu=name,driver_version,compute_cap,memory.total,clocks.max.sm,clocks.max.mem,power.limit --format=csv
  else
    echo 'no nvidia-smi'
  fi
  kf/kf info
}

# A short subset under the tools that see bad accesses and races on a real GPU.
sanitize() {
  compute-sanitizer --tool "$1" --error-exitcode 9 gpu-tests/KernelForge.Tests --at-most 40
}

demo() {
  kf/kf run --device cuda --model samples/tickets/model --input $prompts --output answers.jsonl \
    --score samples/tickets/expected.jsonl --summary summary.json --overwrite "${options[@]}"
}

all() {
  step environment environment
  step tests gpu-tests/KernelForge.Tests --at-least $floor
  if command -v compute-sanitizer >/dev/null; then
    step memcheck sanitize memcheck
    step racecheck sanitize racecheck
  else
    summary+=('memcheck     left out: no compute-sanitizer' 'racecheck    left out: no compute-sanitizer')
  fi
  step demo demo
  step benchmarks bench/KernelForge.Bench --filter "${benchmarks[@]}"
  if [ -z "${1:-}" ] && python3 -c 'import torch; assert torch.cuda.is_available()' 2>/dev/null; then
    step peers python3 peers/matmul_peers.py
  else
    summary+=('peers        left out: quick, or no PyTorch with CUDA')
  fi
  printf '\n== summary\n'
  printf '%s\n' "${summary[@]}"
  return $bad
}

all "$@" | tee report.txt
exit "${PIPESTATUS[0]}"
