#!/usr/bin/env bash
# Sees every gate of check-kernels.sh open for a good kernel and shut for one with the fault planted.
#   check-kernels-test.sh CHECKER TOOLKIT
set -euo pipefail
checker=$1 toolkit=$2
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"

cat > good.cu <<'KERNEL'
extern "C" __global__ void good(float* x) {
    __shared__ float tile[64];
    tile[threadIdx.x] = x[threadIdx.x];
    __syncthreads();
    x[threadIdx.x] = tile[63 - threadIdx.x];
}
KERNEL

# 64 accumulators in the 32 registers that 2048 threads leave.
cat > spilling.cu <<'KERNEL'
extern "C" __global__ void __launch_bounds__(1024, 2) spilling(float* x, int n) {
    float sum[64] = {};
    for (int i = 0; i < n; ++i)
#pragma unroll
        for (int j = 0; j < 64; ++j) sum[j] = fmaf(x[i * 64 + j], sum[(j * 7 + 1) % 64], x[j]);
#pragma unroll
    for (int j = 0; j < 64; ++j) x[threadIdx.x * 64 + j] = sum[j];
}
KERNEL

# An array that is indexed at run time cannot live in registers.
cat > looping.cu <<'KERNEL'
extern "C" __global__ void looping(float* x, int n) {
    float seen[32];
    for (int i = 0; i < n; ++i) seen[i & 31] = x[i];
#pragma unroll 1
    for (int i = 0; i < n; ++i) x[i] += seen[(i * 7) & 31];
}
KERNEL

# An accumulator that is read before the wgmma is waited for.
cat > serial.cu <<'KERNEL'
extern "C" __global__ void serial(float* x, unsigned long long a, unsigned long long b, int n) {
    float d[4] = {};
    for (int i = 0; i < n; ++i) {
        asm volatile("wgmma.fence.sync.aligned;");
        asm volatile("{ .reg .pred p; setp.ne.b32 p, 1, 0; wgmma.mma_async.sync.aligned.m64n8k16.f32.f16.f16 {%0, %1, %2, %3}, %4, %5, p, 1, 1, 0, 0; }"
                     : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3]) : "l"(a), "l"(b));
        d[0] *= 2.0f;
        asm volatile("wgmma.commit_group.sync.aligned;");
        asm volatile("wgmma.wait_group.sync.aligned 0;");
    }
    for (int j = 0; j < 4; ++j) x[threadIdx.x * 4 + j] = d[j];
}
KERNEL

# An entry named after warpgroup products, with all or some of what belongs to it.
cat > named_wgmma.cu <<'KERNEL'
__device__ void product(float (&d)[4], unsigned long long a, unsigned long long b) {
    asm volatile("wgmma.fence.sync.aligned;");
    asm volatile("{ .reg .pred p; setp.ne.b32 p, 1, 0; wgmma.mma_async.sync.aligned.m64n8k16.f32.f16.f16 {%0, %1, %2, %3}, %4, %5, p, 1, 1, 0, 0; }"
                 : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3]) : "l"(a), "l"(b));
    asm volatile("wgmma.commit_group.sync.aligned;");
    asm volatile("wgmma.wait_group.sync.aligned 0;");
}
__device__ void copy(const void* map) {
    asm volatile("cp.async.bulk.tensor.2d.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1, {%0, %0}], [%0];" :: "r"(1024), "l"(map) : "memory");
}
struct alignas(64) Map { char bytes[128]; };
extern "C" __global__ void named_wgmma(const __grid_constant__ Map map, float* x, unsigned long long a, int n) {
    float d[4] = {};
#ifdef COPY
    copy(&map);
#endif
#ifdef PRODUCT
    product(d, a, a);
#endif
#ifdef LOCAL
    float seen[32];
    for (int i = 0; i < 32; ++i) seen[i * n & 31] = x[i];
    d[0] += seen[n & 31];
#endif
    for (int j = 0; j < 4; ++j) x[threadIdx.x * 4 + j] = d[j];
}
KERNEL

for name in good spilling looping; do "$toolkit/bin/nvcc" -ptx -gencode=arch=compute_80,code=compute_80 -o $name.ptx $name.cu; done
"$toolkit/bin/nvcc" -ptx -gencode=arch=compute_90a,code=compute_90a -o serial.ptx serial.cu

failures=0
report() { echo "$1: $2"; [ "$1" = ok ] || failures=$((failures + 1)); }

# Expects success.
passes() { local what=$1; shift; if "$@" > out 2>&1; then report ok "$what"; else report FAILED "$what: $(cat out)"; fi; }

# Expects failure with a message that holds a text.
refuses() {
  local what=$1 text=$2
  shift 2
  if "$@" > out 2>&1; then report FAILED "$what: was let through"; elif grep -q -- "$text" out; then report ok "$what"; else report FAILED "$what: said $(cat out)"; fi
}

for name in good spilling looping; do "$checker" measure "$toolkit" $name.ptx sm_80 sm_89 > $name.measured; done
budget() { printf '# entry\n'; printf "$1\t%s\t$2\t$3\t$4\t$5\t$6\n" sm_80 sm_89; }

passes 'a kernel within its budget' "$checker" check <(budget good 16 0 0 256 0) good.measured
refuses 'too many registers' 'good for sm_80: registers' "$checker" check <(budget good 4 0 0 256 0) good.measured
refuses 'too much shared memory' 'good for sm_89: static_shared 256 is over the budget of 255' "$checker" check <(budget good 16 0 0 255 0) good.measured
refuses 'spill stores' 'spilling for sm_80: spill_stores' "$checker" check <(budget spilling 255 0 99999 0 999) spilling.measured
refuses 'spill loads' 'spilling for sm_80: spill_loads' "$checker" check <(budget spilling 255 99999 0 0 999) spilling.measured
passes 'a spill that the budget allows' "$checker" check <(budget spilling 64 99999 99999 0 999) spilling.measured
refuses 'local memory in a loop' 'looping for sm_80: loop_local' "$checker" check <(budget looping 255 0 0 0 0) looping.measured
passes 'local memory in a loop that the budget allows' "$checker" check <(budget looping 255 0 0 0 99) looping.measured
refuses 'a kernel without a budget' 'good for sm_80 has no line' "$checker" check <(echo '#') good.measured
refuses 'a budget without a kernel' 'looping for sm_80 is in native/budgets.tsv' "$checker" check <(budget good 16 0 0 256 0; budget looping 255 0 0 0 99) good.measured
refuses 'wgmma that ptxas serialises' 'serialises wgmma' "$checker" measure "$toolkit" serial.ptx sm_90a

named() { "$toolkit/bin/nvcc" -ptx "$@" -gencode=arch=compute_90a,code=compute_90a -o named.ptx named_wgmma.cu; }
named -DPRODUCT -DCOPY
passes 'a kernel of warpgroup products' "$checker" measure "$toolkit" named.ptx sm_90a
named -DCOPY
refuses 'a kernel without warpgroup products' 'named_wgmma has no HGMMA' "$checker" measure "$toolkit" named.ptx sm_90a
named -DPRODUCT
refuses 'a kernel without copies by tensor map' 'named_wgmma has no UTMALDG' "$checker" measure "$toolkit" named.ptx sm_90a
named -DPRODUCT -DCOPY -DLOCAL
refuses 'a kernel of warpgroup products with local memory' 'accesses to local memory' "$checker" measure "$toolkit" named.ptx sm_90a

{ budget good 48 0 0 256 0; budget gone 8 0 0 0 0; } > before
"$checker" propose before good.measured looping.measured > proposed
grep -q $'good\tsm_80\t48' proposed && ! grep -q gone proposed && grep -q $'looping\tsm_89\t[0-9]*\t0\t0\t0\t0' proposed && report ok 'a proposal' ||
  report FAILED "a proposal: $(cat proposed)"

exit $((failures > 0))
