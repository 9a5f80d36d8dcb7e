// ptx.cuh - every instruction that CUDA C++ has no words for: one function, one sentence each.
#pragma once

namespace kf {

// Address in shared memory, as the instructions below take it.
KF_INLINE uint32_t shared_address(const void* pointer) { return (uint32_t)__cvta_generic_to_shared(pointer); }

// ---- copies from global to shared memory that run while the thread goes on ----

// Starts a copy of 16 bytes, both addresses multiples of 16; only the first source_bytes are read, the rest becomes zero.
KF_INLINE void cp_async_16(uint32_t shared, const void* global, int source_bytes = 16) {
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;"
                 :: "r"(shared), "l"(__cvta_generic_to_global(global)), "r"(source_bytes) : "memory");
}

// A policy for the second-level cache: what is read under it leaves first, as suits memory that is read once.
KF_INLINE uint64_t evict_first_policy() {
    uint64_t policy;
    asm("createpolicy.fractional.L2::evict_first.b64 %0, 1.0;" : "=l"(policy));
    return policy;
}

// cp_async_16 under a policy of evict_first_policy.
KF_INLINE void cp_async_16_evict_first(uint32_t shared, const void* global, uint64_t policy, int source_bytes = 16) {
    asm volatile("cp.async.cg.shared.global.L2::cache_hint [%0], [%1], 16, %2, %3;"
                 :: "r"(shared), "l"(__cvta_generic_to_global(global)), "r"(source_bytes), "l"(policy) : "memory");
}

// Closes a group of this thread's copies, which may be empty.
KF_INLINE void cp_async_commit() { asm volatile("cp.async.commit_group;" ::: "memory"); }

// Waits until at most PENDING of this thread's groups, the newest ones, are unfinished; other threads see the data after a barrier.
template <int PENDING> KF_INLINE void cp_async_wait() { asm volatile("cp.async.wait_group %0;" :: "n"(PENDING) : "memory"); }

// ---- tensor cores ----

// Reads four 8 x 8 matrices of 16-bit elements; lane i gives the address of row i % 8 of matrix i / 8, and gets of each matrix the
// elements (i / 4, 2 * (i % 4) + {0, 1}).
KF_INLINE void ldmatrix_x4(uint32_t (&matrices)[4], uint32_t shared) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(matrices[0]), "=r"(matrices[1]), "=r"(matrices[2]), "=r"(matrices[3]) : "r"(shared) : "memory");
}

// The same with each matrix transposed: lane i gets the elements (2 * (i % 4) + {0, 1}, i / 4).
KF_INLINE void ldmatrix_x4_trans(uint32_t (&matrices)[4], uint32_t shared) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(matrices[0]), "=r"(matrices[1]), "=r"(matrices[2]), "=r"(matrices[3]) : "r"(shared) : "memory");
}

// sum[16][8] += a[16][16] * b[16][8] for a warp. With r = lane / 4 and c = 2 * (lane % 4), a lane holds
//   a     (r, c..c+1), (r + 8, c..c+1), (r, c+8..c+9), (r + 8, c+8..c+9)
//   b     (k = c..c+1, n = r), (k = c+8..c+9, n = r)
//   sum   (r, c), (r, c + 1), (r + 8, c), (r + 8, c + 1)
template <class T> KF_INLINE void mma_m16n8k16(float (&sum)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1);

// mma_m16n8k16 of F16.
template <> KF_INLINE void mma_m16n8k16<half>(float (&sum)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
                 : "+f"(sum[0]), "+f"(sum[1]), "+f"(sum[2]), "+f"(sum[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

// mma_m16n8k16 of BF16.
template <> KF_INLINE void mma_m16n8k16<bf16>(float (&sum)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
                 : "+f"(sum[0]), "+f"(sum[1]), "+f"(sum[2]), "+f"(sum[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

// ---- one form of every approximation, so that all kernels round alike ----

// 2 to the power of x; subnormal arguments and results count as zero. ex2(-inf) is 0, ex2(0) is 1.
KF_INLINE float ex2(float x) {
    float result;
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(result) : "f"(x));
    return result;
}

// Logarithm to base 2; lg2(0) is -inf.
KF_INLINE float lg2(float x) {
    float result;
    asm("lg2.approx.ftz.f32 %0, %1;" : "=f"(result) : "f"(x));
    return result;
}

// 1 / x to the last bit or the one beside it.
KF_INLINE float rcp(float x) {
    float result;
    asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(result) : "f"(x));
    return result;
}

// 1 / sqrt(x).
KF_INLINE float inverse_sqrt(float x) {
    float result;
    asm("rsqrt.approx.ftz.f32 %0, %1;" : "=f"(result) : "f"(x));
    return result;
}

// ---- bits ----

// value & mask | bits, in one instruction.
KF_INLINE uint32_t and_or(uint32_t value, uint32_t mask, uint32_t bits) {
    uint32_t result;
    asm("lop3.b32 %0, %1, %2, %3, 0xea;" : "=r"(result) : "r"(value), "r"(mask), "r"(bits));
    return result;
}

// ---- conversions ----

// Two floats rounded to nearest even, the first in the lower half.
template <class T> KF_INLINE uint32_t pack(float low, float high);

// pack to F16.
template <> KF_INLINE uint32_t pack<half>(float low, float high) {
    uint32_t result;
    asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(result) : "f"(high), "f"(low));
    return result;
}

// pack to BF16.
template <> KF_INLINE uint32_t pack<bf16>(float low, float high) {
    uint32_t result;
    asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(result) : "f"(high), "f"(low));
    return result;
}

}  // namespace kf
