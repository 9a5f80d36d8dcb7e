// sm90.cu - the functions of kf/ptx_sm90.cuh, to hold the hardware and the emulator to the same bits. Sm90ConformanceTests.cs says what must come out.

#include "kf/kf.cuh"

#if KF_SM90A

constexpr int WARPGROUP = 128, TILE_BYTES = 64 * 128;

// One barrier for this block, initialised and known to everybody.
KF_INLINE void prepare(uint64_t* barrier) {
    if (threadIdx.x == 0) {
        mbarrier_init(barrier, 1);
        fence_mbarrier_init();
    }
    __syncthreads();  // nobody waits for a barrier that is not there
}

// ---- a tile of a tensor, and contiguous bytes, as they lie in shared memory

struct CopyConformanceArgs {  // mirrored in Sm90ConformanceTests.cs
    TensorMap map;
    const uint32_t* source;
    uint32_t* output;
    int rank, bytes, x, y, z, w;  // rank 0: bytes from source; bytes is that of the whole tile
};

extern "C" __global__ void __launch_bounds__(WARPGROUP) conform_copies(const __grid_constant__ CopyConformanceArgs args) {
    extern __shared__ __align__(1024) uint32_t tile[];
    __shared__ uint64_t full;
    for (int i = threadIdx.x; i < args.bytes / 4; i += WARPGROUP) tile[i] = 0xdeadbeef;  // the copy leaves none of it
    fence_proxy_async();
    prepare(&full);
    if (threadIdx.x / WARP == 0 && elect_one()) {
        if (args.rank) prefetch_tensormap(&args.map);
        mbarrier_arrive_expect_tx(&full, args.bytes);
        if (args.rank == 0) bulk_load(tile, args.source, args.bytes, &full);
        if (args.rank == 2) tma_load_2d(tile, &args.map, &full, args.x, args.y);
        if (args.rank == 3) tma_load_3d(tile, &args.map, &full, args.x, args.y, args.z);
        if (args.rank == 4) tma_load_4d(tile, &args.map, &full, args.x, args.y, args.z, args.w);
    }
    mbarrier_wait(&full, 0);
    for (int i = threadIdx.x; i < args.bytes / 4; i += WARPGROUP) args.output[i] = tile[i];
}

// ---- products of a warpgroup against the same products of its warps by mma.sync

struct ProductConformanceArgs {  // mirrored in Sm90ConformanceTests.cs
    TensorMap a, b;     // [64][64]; [COLUMNS][64] where B is k-major, else [64][COLUMNS]; boxes of 64 x 64 with the 128-byte swizzle
    float *wgmma, *mma;  // [64][COLUMNS]: c = 1 + a * b, or a * b with A in registers
};

// Element i of the 8 columns from 8 * group on, for this thread.
template <int COLUMNS> KF_INLINE float& element(float* matrix, int group, int i) {
    int lane = lane_id(), row = threadIdx.x / WARP * 16 + lane / 4 + i / 2 * 8, column = 8 * group + lane % 4 * 2 + i % 2;
    return matrix[row * COLUMNS + column];
}

// Loads A and then the tiles of B behind it, all at multiples of 1024 bytes.
template <class T, int TILES, bool B_RUNS_ALONG_COLUMNS> KF_INLINE void load_operands(T* tiles, const ProductConformanceArgs& args, uint64_t* full) {
    prepare(full);
    if (threadIdx.x == 0) {
        mbarrier_arrive_expect_tx(full, (1 + TILES) * TILE_BYTES);
        tma_load_2d(tiles, &args.a, full, 0, 0);
        for (int i = 0; i < TILES; i++)
            tma_load_2d(tiles + (1 + i) * TILE_BYTES / 2, &args.b, full, B_RUNS_ALONG_COLUMNS ? 64 * i : 0, B_RUNS_ALONG_COLUMNS ? 0 : 64 * i);
    }
    mbarrier_wait(full, 0);
}

template <class T> KF_INLINE void multiply_shared(const ProductConformanceArgs& args) {
    constexpr int COLUMNS = 128;
    extern __shared__ __align__(1024) uint8_t memory[];
    __shared__ uint64_t full;
    T *a = (T*)memory, *b = a + TILE_BYTES / 2;
    load_operands<T, 2, false>(a, args, &full);
    float sum[COLUMNS / 2], pair[COLUMNS / 8][4];
    for (int i = 0; i < COLUMNS / 2; i++) sum[i] = pair[i / 4][i % 4] = 1.0f;
    pin(sum);
    wgmma_fence();
#pragma unroll
    for (int step = 0; step < 4; step++) wgmma_shared<T>(sum, k_major_descriptor(a) + 2 * step, k_major_descriptor(b) + 2 * step, true);
    wgmma_commit();
    wgmma_wait<0>();
    pin(sum);
#pragma unroll
    for (int step = 0; step < 4; step++) {
        uint32_t left[4], right[4];
        load_a<64>(left, a, threadIdx.x / WARP * 16, step);
#pragma unroll
        for (int group = 0; group < COLUMNS / 8; group += 2) {
            load_b<64>(right, b, 8 * group, step);
            mma_m16n8k16<T>(pair[group], left, right[0], right[1]);
            mma_m16n8k16<T>(pair[group + 1], left, right[2], right[3]);
        }
    }
    for (int i = 0; i < COLUMNS / 2; i++) {
        element<COLUMNS>(args.wgmma, i / 4, i % 4) = sum[i];
        element<COLUMNS>(args.mma, i / 4, i % 4) = pair[i / 4][i % 4];
    }
}

template <class T, int COLUMNS, bool B_RUNS_ALONG_COLUMNS = true> KF_INLINE void multiply_registers(const ProductConformanceArgs& args) {
    extern __shared__ __align__(1024) uint8_t memory[];
    __shared__ uint64_t full;
    T *a = (T*)memory, *b = a + TILE_BYTES / 2;
    load_operands<T, ceil_div(COLUMNS, 64), B_RUNS_ALONG_COLUMNS>(a, args, &full);
    uint32_t left[4][4];
    float sum[COLUMNS / 2];
#pragma unroll
    for (int step = 0; step < 4; step++) load_a<64>(left[step], a, threadIdx.x / WARP * 16, step);
    for (int i = 0; i < COLUMNS / 2; i++) sum[i] = __uint_as_float(0x7fc00000);  // the first product starts from +0
    for (int step = 0; step < 4; step++) pin(left[step]);
    pin(sum);
    wgmma_fence();
#pragma unroll
    for (int step = 0; step < 4; step++) {
        if constexpr (B_RUNS_ALONG_COLUMNS) wgmma_registers<T>(sum, left[step], mn_major_descriptor(b + step * 16 * 64, TILE_BYTES), step > 0);
        else wgmma_registers_k_major<T>(sum, left[step], k_major_descriptor(b) + 2 * step, step > 0);
    }
    wgmma_commit();
    wgmma_wait<0>();
    pin(sum);
    for (int i = 0; i < COLUMNS / 2; i++) element<COLUMNS>(args.wgmma, i / 4, i % 4) = sum[i];
    for (int group = 0; group < COLUMNS / 8; group += 2) {
        float pair[2][4] = {};
#pragma unroll
        for (int step = 0; step < 4; step++) {
            uint32_t right[4];
            if constexpr (B_RUNS_ALONG_COLUMNS) load_b_transposed<64>(right, b + group / 8 * TILE_BYTES / 2, 16 * step, group % 8 / 2);
            else load_b<64>(right, b, 8 * group, step);
            mma_m16n8k16<T>(pair[0], left[step], right[0], right[1]);
            mma_m16n8k16<T>(pair[1], left[step], right[2], right[3]);
        }
        for (int i = 0; i < 8; i++) element<COLUMNS>(args.mma, group + i / 4, i % 4) = pair[i / 4][i % 4];
    }
}

#define KF_PRODUCTS(type, T)                                                                                                                                                     \
    extern "C" __global__ void __launch_bounds__(WARPGROUP) conform_wgmma_shared_##type(const __grid_constant__ ProductConformanceArgs args) { multiply_shared<T>(args); }       \
    extern "C" __global__ void __launch_bounds__(WARPGROUP) conform_wgmma_registers_k_major_##type(const __grid_constant__ ProductConformanceArgs args) { multiply_registers<T, 128, false>(args); } \
    extern "C" __global__ void __launch_bounds__(WARPGROUP) conform_wgmma_registers_64_##type(const __grid_constant__ ProductConformanceArgs args) { multiply_registers<T, 64>(args); } \
    extern "C" __global__ void __launch_bounds__(WARPGROUP) conform_wgmma_registers_96_##type(const __grid_constant__ ProductConformanceArgs args) { multiply_registers<T, 96>(args); } \
    extern "C" __global__ void __launch_bounds__(WARPGROUP) conform_wgmma_registers_128_##type(const __grid_constant__ ProductConformanceArgs args) { multiply_registers<T, 128>(args); } \
    extern "C" __global__ void __launch_bounds__(WARPGROUP) conform_wgmma_registers_256_##type(const __grid_constant__ ProductConformanceArgs args) { multiply_registers<T, 256>(args); }

KF_PRODUCTS(f16, half)
KF_PRODUCTS(bf16, bf16)

// ---- roles of warps

struct RolesConformanceArgs {  // mirrored in Sm90ConformanceTests.cs
    const uint32_t* input;     // [rounds][128]
    uint32_t* output;          // the same, each word plus the number of elected lanes of its warp
    int rounds;
};

// The first warpgroup hands words to the second through one buffer: barrier 1 says that it is full, barrier 2 that it is empty; an mbarrier counts the rounds.
extern "C" __global__ void __launch_bounds__(2 * WARPGROUP, 1) conform_roles(const __grid_constant__ RolesConformanceArgs args) {
    __shared__ uint32_t buffer[WARPGROUP];
    __shared__ uint64_t rounds_done;
    if (threadIdx.x == 0) {
        mbarrier_init(&rounds_done, WARPGROUP);
        fence_mbarrier_init();
    }
    __syncthreads();  // the barrier is there
    int thread = threadIdx.x % WARPGROUP;
    if (threadIdx.x < WARPGROUP) {
        setmaxnreg_decrease<24>();
        for (int round = 0; round < args.rounds; round++) {
            if (round > 0) named_barrier_sync(2, 2 * WARPGROUP);  // the words of the round before are read
            buffer[thread] = args.input[round * WARPGROUP + thread];
            named_barrier_arrive(1, 2 * WARPGROUP);  // the words are there
            mbarrier_wait(&rounds_done, round % 2);
        }
    } else {
        setmaxnreg_increase<240>();
        uint32_t elected = __popc(__ballot_sync(0xffffffff, elect_one()));
        for (int round = 0; round < args.rounds; round++) {
            named_barrier_sync(1, 2 * WARPGROUP);  // the words are there
            args.output[round * WARPGROUP + thread] = buffer[(thread + 1) % WARPGROUP] + elected;
            if (round + 1 < args.rounds) named_barrier_arrive(2, 2 * WARPGROUP);  // the words are read
            mbarrier_arrive(&rounds_done);
        }
    }
}

#endif
