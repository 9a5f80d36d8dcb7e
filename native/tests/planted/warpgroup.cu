// warpgroup.cu - what goes wrong between the copy engine, wgmma and threads.

#include "planted.cuh"

#if KF_SM90A

constexpr int CONSUMERS = 128, PRODUCER = CONSUMERS;  // the producer is the first thread of the fifth warp
constexpr int STAGE_BYTES = CONSUMERS * 4;

KF_INLINE void prepare(uint64_t* barriers, int count, int arrivals) {
    if (threadIdx.x == 0) {
        for (int i = 0; i < count; i++) mbarrier_init(barriers + i, arrivals);
        fence_mbarrier_init();
    }
    __syncthreads();  // nobody uses a barrier that is not there
}

// Nobody waits for the barrier that says that the data has come.
template <bool FIXED> KF_INLINE void missing_full_wait_body(const PlantedArgs& args) {
    __shared__ alignas(16) int stage[CONSUMERS];
    __shared__ uint64_t full;
    prepare(&full, 1, 1);
    if (threadIdx.x == 0) {
        mbarrier_arrive_expect_tx(&full, STAGE_BYTES);
        bulk_load(stage, args.input, STAGE_BYTES, &full);
    }
    if constexpr (FIXED) mbarrier_wait(&full, 0);
    args.output[threadIdx.x] = stage[CONSUMERS - 1 - threadIdx.x];  // planted: missing_full_wait
}

// The producer fills the stage anew when the data has come instead of when it has been read.
template <bool FIXED> KF_INLINE void early_refill_body(const PlantedArgs& args) {
    __shared__ alignas(16) int stage[CONSUMERS];
    __shared__ uint64_t full[2], empty;
    prepare(full, 2, 1);
    prepare(&empty, 1, CONSUMERS);
    if (threadIdx.x == PRODUCER) {
        for (int round = 0; round < 2; round++) {
            if (round == 1) mbarrier_wait(FIXED ? &empty : &full[0], 0);
            mbarrier_arrive_expect_tx(&full[round], STAGE_BYTES);
            bulk_load(stage, args.input + round * CONSUMERS, STAGE_BYTES, &full[round]);  // planted: early_refill
        }
    } else if (threadIdx.x < CONSUMERS) {
        int sum = 0;
        for (int round = 0; round < 2; round++) {
            mbarrier_wait(&full[round], 0);
            sum += stage[CONSUMERS - 1 - threadIdx.x];  // planted: early_refill
            mbarrier_arrive(&empty);
        }
        args.output[threadIdx.x] = sum;
    }
    if (threadIdx.x >= CONSUMERS) args.output[threadIdx.x] = 0;
}

// The barrier waits for more bytes than the copy moves.
template <bool FIXED> KF_INLINE void wrong_expected_bytes_body(const PlantedArgs& args) {
    __shared__ alignas(16) int stage[CONSUMERS];
    __shared__ uint64_t full;
    prepare(&full, 1, 1);
    if (threadIdx.x == 0) {
        mbarrier_arrive_expect_tx(&full, FIXED ? STAGE_BYTES : STAGE_BYTES + 16);
        bulk_load(stage, args.input, STAGE_BYTES, &full);
    }
    mbarrier_wait(&full, 0);  // planted: wrong_expected_bytes
    args.output[threadIdx.x] = stage[CONSUMERS - 1 - threadIdx.x];
}

enum class Bug { None, MissingProxyFence, MissingFence, MissingWait, OverwrittenOperand, HalfWarpgroup, WrongSwizzle };

// a[r][k] = 1 where k = r % 16, b[n][k] = input[(n + k) % 64] for k < 16, zeros behind: element (r, n) of the product is input[(n + r % 16) % 64].
KF_INLINE void fill_operands(bf16* a, bf16* b, const int* input) {
    for (int i = threadIdx.x; i < 192 * 64; i += CONSUMERS) {
        int row = i / 64, k = i % 64, at = tile_offset<64>(row, k / 8) + k % 8, n = row - 64;
        a[at] = from_float<bf16>(k >= 16 ? 0.0f : n < 0 ? (k == row % 16 ? 1.0f : 0.0f) : (float)input[(n + k) % 64]);  // planted: product
    }
}

template <Bug BUG> KF_INLINE void product_body(const PlantedArgs& args) {
    extern __shared__ __align__(1024) uint8_t memory[];
    bf16 *a = (bf16*)memory, *b = a + 64 * 64;
    fill_operands(a, b, args.input);
    if constexpr (BUG != Bug::MissingProxyFence) fence_proxy_async();
    __syncthreads();  // both operands are there
    float sum[64] = {};
    uint64_t b_descriptor = k_major_descriptor(b);
    if constexpr (BUG == Bug::WrongSwizzle) b_descriptor ^= 3ull << 62;  // 64 bytes instead of 128
    if (BUG != Bug::HalfWarpgroup || threadIdx.x < CONSUMERS / 2) {
        pin(sum);
        if constexpr (BUG != Bug::MissingFence) wgmma_fence();
        wgmma_shared<bf16>(sum, k_major_descriptor(a), b_descriptor, true);  // planted: product
        wgmma_commit();
        if constexpr (BUG == Bug::OverwrittenOperand) b[threadIdx.x] = from_float<bf16>(0.0f);
        if constexpr (BUG != Bug::MissingWait) wgmma_wait<0>();
        pin(sum);
        if constexpr (BUG == Bug::None) a[threadIdx.x / WARP * 16 * 64 + threadIdx.x % WARP * 32] = from_float<bf16>(0.0f);  // the rows of A are this warp's own, and read
    }
    args.output[threadIdx.x] = (int)sum[0];  // planted: product
}

#define KF_PLANTED(name, body)                                                                                                                             \
    extern "C" __global__ void __launch_bounds__(160) name##_bug(const __grid_constant__ PlantedArgs args) { body##_body<false>(args); }                    \
    extern "C" __global__ void __launch_bounds__(160) name(const __grid_constant__ PlantedArgs args) { body##_body<true>(args); }
#define KF_PLANTED_PRODUCT(name, bug)                                                                                                                      \
    extern "C" __global__ void __launch_bounds__(CONSUMERS) name##_bug(const __grid_constant__ PlantedArgs args) { product_body<Bug::bug>(args); }          \
    extern "C" __global__ void __launch_bounds__(CONSUMERS) name(const __grid_constant__ PlantedArgs args) { product_body<Bug::None>(args); }

KF_PLANTED(missing_full_wait, missing_full_wait)
KF_PLANTED(early_refill, early_refill)
KF_PLANTED(wrong_expected_bytes, wrong_expected_bytes)
KF_PLANTED_PRODUCT(missing_proxy_fence, MissingProxyFence)
KF_PLANTED_PRODUCT(missing_fence, MissingFence)
KF_PLANTED_PRODUCT(missing_wait, MissingWait)
KF_PLANTED_PRODUCT(overwritten_operand, OverwrittenOperand)
KF_PLANTED_PRODUCT(half_warpgroup, HalfWarpgroup)
KF_PLANTED_PRODUCT(wrong_swizzle, WrongSwizzle)

#endif
