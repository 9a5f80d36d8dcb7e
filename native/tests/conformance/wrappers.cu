// wrappers.cu - one micro-kernel for every function of kf/ptx.cuh, to hold the hardware and the emulator to the same bits.
//
// A block is one warp and one case. Every lane reads its own `in` words and writes its own `out` words; what they mean is said at each
// kernel, and WrapperCases.cs says what must come out. The kernel of function f is named conform_f, with the type for those that have one.

#include "kf/kf.cuh"

struct ConformanceArgs {  // mirrored by ConformanceArgs in WrapperConformanceTests.cs
    const uint32_t* input;
    uint32_t* output;
};

// The words of this lane, IN of input and OUT of output.
template <int IN, int OUT> struct Words {
    const uint32_t* in;
    uint32_t* out;
    KF_INLINE explicit Words(const ConformanceArgs& args)
        : in(args.input + (size_t)(blockIdx.x * WARP + threadIdx.x) * IN), out(args.output + (size_t)(blockIdx.x * WARP + threadIdx.x) * OUT) {}
};

// out: how far the lane's word lies behind lane 0's.
extern "C" __global__ void conform_shared_address(const __grid_constant__ ConformanceArgs args) {
    __shared__ uint32_t row[WARP];
    Words<1, 1> words(args);
    row[threadIdx.x] = words.in[0];
    words.out[0] = shared_address(row + threadIdx.x) - shared_address(row);
}

// in: four words to copy, four that say how many bytes (the first of them counts). out: what arrived.
extern "C" __global__ void conform_cp_async_16(const __grid_constant__ ConformanceArgs args) {
    __shared__ alignas(16) uint32_t tile[WARP][4];
    Words<8, 4> words(args);
    cp_async_16(shared_address(tile[threadIdx.x]), words.in, (int)words.in[4]);
    cp_async_commit();
    cp_async_wait<0>();
    for (int i = 0; i < 4; i++) words.out[i] = tile[threadIdx.x][i];
}

// The same under a cache policy, which changes no bytes.
KF_INLINE void copy_evict_first(const ConformanceArgs& args) {
    __shared__ alignas(16) uint32_t tile[WARP][4];
    Words<8, 4> words(args);
    cp_async_16_evict_first(shared_address(tile[threadIdx.x]), words.in, evict_first_policy(), (int)words.in[4]);
    cp_async_commit();
    cp_async_wait<0>();
    for (int i = 0; i < 4; i++) words.out[i] = tile[threadIdx.x][i];
}

extern "C" __global__ void conform_cp_async_16_evict_first(const __grid_constant__ ConformanceArgs args) { copy_evict_first(args); }

extern "C" __global__ void conform_evict_first_policy(const __grid_constant__ ConformanceArgs args) { copy_evict_first(args); }

// An empty group is a group too. in: two times four words. out: the first four, read while the second may be pending, then the others.
template <int EMPTY_GROUPS> KF_INLINE void copy_in_groups(const ConformanceArgs& args) {
    __shared__ alignas(16) uint32_t tile[2][WARP][4];
    Words<8, 8> words(args);
    cp_async_16(shared_address(tile[0][threadIdx.x]), words.in);
    cp_async_commit();
    cp_async_16(shared_address(tile[1][threadIdx.x]), words.in + 4);
    cp_async_commit();
    for (int group = 0; group < EMPTY_GROUPS; group++) cp_async_commit();
    cp_async_wait<1 + EMPTY_GROUPS>();
    for (int i = 0; i < 4; i++) words.out[i] = tile[0][threadIdx.x][i];
    cp_async_wait<EMPTY_GROUPS>();
    for (int i = 0; i < 4; i++) words.out[4 + i] = tile[1][threadIdx.x][i];
}

extern "C" __global__ void conform_cp_async_wait(const __grid_constant__ ConformanceArgs args) { copy_in_groups<0>(args); }

extern "C" __global__ void conform_cp_async_commit(const __grid_constant__ ConformanceArgs args) { copy_in_groups<2>(args); }

// in: value, mask, bits.
extern "C" __global__ void conform_and_or(const __grid_constant__ ConformanceArgs args) {
    Words<3, 1> words(args);
    words.out[0] = and_or(words.in[0], words.in[1], words.in[2]);
}

// in: a row of eight 16-bit elements, and the row that the lane points at. out: its pairs of the four matrices.
template <bool TRANSPOSED> KF_INLINE void read_matrices(const ConformanceArgs& args) {
    __shared__ alignas(16) uint32_t rows[WARP][4];
    Words<5, 4> words(args);
    for (int i = 0; i < 4; i++) rows[threadIdx.x][i] = words.in[i];
    __syncwarp();
    uint32_t matrices[4], address = shared_address(rows[words.in[4]]);
    if constexpr (TRANSPOSED)
        ldmatrix_x4_trans(matrices, address);
    else
        ldmatrix_x4(matrices, address);
    for (int i = 0; i < 4; i++) words.out[i] = matrices[i];
}

extern "C" __global__ void conform_ldmatrix_x4(const __grid_constant__ ConformanceArgs args) { read_matrices<false>(args); }

extern "C" __global__ void conform_ldmatrix_x4_trans(const __grid_constant__ ConformanceArgs args) { read_matrices<true>(args); }

// in: four registers of a, two of b, four of the sum. out: the new sum.
template <class T> KF_INLINE void multiply(const ConformanceArgs& args) {
    Words<10, 4> words(args);
    uint32_t a[4];
    float sum[4];
    for (int i = 0; i < 4; i++) a[i] = words.in[i], sum[i] = __uint_as_float(words.in[6 + i]);
    mma_m16n8k16<T>(sum, a, words.in[4], words.in[5]);
    for (int i = 0; i < 4; i++) words.out[i] = __float_as_uint(sum[i]);
}

extern "C" __global__ void conform_mma_m16n8k16_f16(const __grid_constant__ ConformanceArgs args) { multiply<half>(args); }

extern "C" __global__ void conform_mma_m16n8k16_bf16(const __grid_constant__ ConformanceArgs args) { multiply<bf16>(args); }

// in: a float. out: the function of it.
template <class Function> KF_INLINE void apply(const ConformanceArgs& args, Function function) {
    Words<1, 1> words(args);
    words.out[0] = __float_as_uint(function(__uint_as_float(words.in[0])));
}

extern "C" __global__ void conform_ex2(const __grid_constant__ ConformanceArgs args) {
    apply(args, [](float x) { return ex2(x); });
}

extern "C" __global__ void conform_lg2(const __grid_constant__ ConformanceArgs args) {
    apply(args, [](float x) { return lg2(x); });
}

extern "C" __global__ void conform_rcp(const __grid_constant__ ConformanceArgs args) {
    apply(args, [](float x) { return rcp(x); });
}

extern "C" __global__ void conform_inverse_sqrt(const __grid_constant__ ConformanceArgs args) {
    apply(args, [](float x) { return inverse_sqrt(x); });
}

// in: the lower and the upper float. out: both as 16-bit numbers.
template <class T> KF_INLINE void pack_pair(const ConformanceArgs& args) {
    Words<2, 1> words(args);
    words.out[0] = pack<T>(__uint_as_float(words.in[0]), __uint_as_float(words.in[1]));
}

extern "C" __global__ void conform_pack_f16(const __grid_constant__ ConformanceArgs args) { pack_pair<half>(args); }

extern "C" __global__ void conform_pack_bf16(const __grid_constant__ ConformanceArgs args) { pack_pair<bf16>(args); }
