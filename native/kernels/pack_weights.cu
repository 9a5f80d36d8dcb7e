// pack_weights.cu - weights into the packed layout: dense ones by rounding to nearest, quantised ones from the words in which files have their codes.
//
// Why      A model's weights are packed once, when it is loaded. On the device that costs a copy of the file's own bytes and a pass over them.
//
// Math     grids    a group's scale and zero point, from its least and largest weight, 0 among them:
//                   symmetric   scale = max |w| / (MAX / 2), zero = MIDDLE
//                   else        scale = max / MAX - min / MAX, zero = round(-min / scale)          MAX = 15 or 255, MIDDLE = 8 or 128
//          codes    min(max(round(w / scale) + zero, 0), MAX), ties to even; zero where the scale is 0
//          Every step is rounded to nearest, as WeightGrid in C# does it, so both pack the same bits. Weights must be finite.
//
// Shapes   source   dense     [columns, k]  float, half or bf16, rows stride apart
//                   words     32-bit, codes of BITS bits from the lowest up, PER = 32 / BITS of them:
//                             GPTQ                [k / PER, columns]    along k
//                             compressed-tensors  [columns, k / PER]    along k
//                             AWQ                 [k, columns / 8]      along columns, in the order 0 2 4 6 1 3 5 7
//          up       as source, or null: of gated weights, whose gates source then is
//          packed   kf/packed_weights.cuh; what pads it means 0 and has scale 0
//
// Tiling   grids    a warp for each group: (ceil(padded columns / 8), groups) blocks
//          codes    a block for each 128 columns by 128 k; a thread writes the 16-byte vectors of one lane of one slice and side: (blocks of k, tiles) blocks
//
// Limits   k is a multiple of the group size. Scales and zero points of quantised sources are written by who launches.
//
// Cost     Memory bound: the source, twice where it is dense, and the packed bytes.

#include "kf/kf.cuh"

constexpr int THREADS = 256;  // CudaOperators.PackWeights.cs uses the same number
constexpr int WARPS = THREADS / WARP;

enum class WordOrder : int { Gptq, CompressedTensors, Awq };  // mirrored by WordOrder in C#

template <class S> struct PackWeightsArgs {  // mirrored by PackWeightsArgs in C#
    const S* source;
    const S* up;
    const int* order;  // which input a packed k is, or null
    uint4* codes;
    float* scales;
    uint8_t* zeros;  // or null
    int columns;     // packed: of gated weights both halves
    int k, group_size;
    int stride;  // elements or words from a row of the source to the next
    WordOrder word_order;
    int padding;
};

// Where a packed column's weights are: rows of gate and up projection take turns, eight by eight.
template <class S> struct Row {
    const S* source;
    int index;
};

template <class S> KF_INLINE Row<S> row_of(const PackWeightsArgs<S>& args, int column) {
    if (!args.up) return {args.source, column};
    return {column % 16 < 8 ? args.source : args.up, column / 16 * 8 + column % 8};
}

template <class S> KF_INLINE int groups_of(const PackWeightsArgs<S>& args) {
    return args.group_size ? round_up(args.k, PACKED_TILE) / args.group_size : 1;
}

template <class S> KF_INLINE size_t scale_index(const PackWeightsArgs<S>& args, int column, int group) {
    return ((size_t)(column / PACKED_TILE) * groups_of(args) + group) * PACKED_TILE + column % PACKED_TILE;
}

// The code that means 0.
template <int BITS, class S> KF_INLINE int zero_of(const PackWeightsArgs<S>& args, int column, int group) {
    return args.zeros ? args.zeros[scale_index(args, column, group)] : 1 << (BITS - 1);
}

template <int BITS, class S> KF_INLINE int nearest_code(float weight, float scale, int zero) {
    if (scale == 0) return zero;
    float code = __fadd_rn(rintf(__fdiv_rn(weight, scale)), (float)zero);
    return (int)fminf(fmaxf(code, 0), (float)((1 << BITS) - 1));
}

// Writes a group's scale, and its zero point where there are any.
template <int BITS, class S> KF_INLINE void store_grid(const PackWeightsArgs<S>& args, int column, int group, float least, float largest) {
    constexpr float MAX = (1 << BITS) - 1;
    float scale, zero = 0;
    if (args.zeros) {
        scale = __fsub_rn(__fdiv_rn(largest, MAX), __fdiv_rn(least, MAX));
        if (scale != 0) zero = fminf(fmaxf(rintf(__fdiv_rn(-least, scale)), 0), MAX);
        args.zeros[scale_index(args, column, group)] = (uint8_t)zero;
    } else {
        scale = __fdiv_rn(fmaxf(-least, largest), MAX / 2);
    }
    args.scales[scale_index(args, column, group)] = scale == 0 ? 0 : scale;
}

// Every warp one group, those of padding among them.
template <int BITS, class S> KF_INLINE void store_grids(const PackWeightsArgs<S>& args) {
    int column = blockIdx.x * WARPS + threadIdx.x / WARP, group = blockIdx.y, lane = threadIdx.x % WARP;
    int size = args.group_size ? args.group_size : args.k;
    float least = 0, largest = 0;
    if (column < args.columns && group * size < args.k) {
        Row<S> row = row_of(args, column);
        const S* weights = row.source + (size_t)row.index * args.stride + group * size;
        for (int i = lane; i < size; i += WARP) {
            least = fminf(least, to_float(weights[i]));
            largest = fmaxf(largest, to_float(weights[i]));
        }
    }
#pragma unroll
    for (int apart = WARP / 2; apart > 0; apart /= 2) {
        least = fminf(least, __shfl_xor_sync(0xffffffff, least, apart));
        largest = fmaxf(largest, __shfl_xor_sync(0xffffffff, largest, apart));
    }
    if (lane == 0) store_grid<BITS>(args, column, group, least, largest);
}

// The code of a word-wise source.
template <int BITS> KF_INLINE int read_code(const PackWeightsArgs<uint32_t>& args, const Row<uint32_t>& row, int k, float, int) {
    constexpr int PER_WORD = 32 / BITS;
    int input = args.order ? args.order[k] : k;
    size_t word;
    int place = input % PER_WORD;
    switch (args.word_order) {
        case WordOrder::Gptq: word = (size_t)(input / PER_WORD) * args.stride + row.index; break;
        case WordOrder::CompressedTensors: word = (size_t)row.index * args.stride + input / PER_WORD; break;
        default:
            word = (size_t)input * args.stride + row.index / PER_WORD;
            place = row.index % 8 / 2 + row.index % 2 * 4;
    }
    return row.source[word] >> BITS * place & (1 << BITS) - 1;
}

template <int BITS, class S> KF_INLINE int read_code(const PackWeightsArgs<S>& args, const Row<S>& row, int k, float scale, int zero) {
    return nearest_code<BITS, S>(to_float(row.source[(size_t)row.index * args.stride + k]), scale, zero);
}

// What a packed place holds.
template <int BITS, class S> KF_INLINE uint32_t code_at(const PackWeightsArgs<S>& args, int column, int k) {
    int group = args.group_size ? k / args.group_size : 0;
    int zero = zero_of<BITS>(args, column, group);
    if (column >= args.columns || k >= args.k) return zero;
    return read_code<BITS>(args, row_of(args, column), k, args.scales[scale_index(args, column, group)], zero);
}

// Word j of vector v of a lane; column and k are its first.
template <int BITS, class S> KF_INLINE uint32_t word_at(const PackWeightsArgs<S>& args, int column, int k, int vector, int j) {
    uint32_t word = 0;
    if constexpr (BITS == 4) {
        k += (4 * vector + j) * 16;
#pragma unroll
        for (int i = 0; i < 8; i++) word |= code_at<BITS>(args, column + i % 2 * 8, k + i / 2 % 2 * 8 + i / 4) << 4 * i;
    } else {
        k += (2 * vector + j / 2) * 16 + j % 2 * 8;
#pragma unroll
        for (int i = 0; i < 4; i++) word |= code_at<BITS>(args, column + i / 2 * 8, k + i % 2) << 8 * i;
    }
    return word;
}

// A thread is one lane of one of the eight runs of 16 columns.
template <int BITS, class S> KF_INLINE void store_codes(const PackWeightsArgs<S>& args) {
    constexpr int VECTORS = PACKED_VECTORS<BITS>;
    int run = threadIdx.x / WARP, lane = threadIdx.x % WARP;
    int column = blockIdx.y * PACKED_TILE + run * 16 + lane / 4, k = blockIdx.x * PACKED_TILE + lane % 4 * 2;
    uint4* vectors = args.codes + (((size_t)blockIdx.y * gridDim.x + blockIdx.x) * WARPS + run) * VECTORS * WARP + lane;
    for (int v = 0; v < VECTORS; v++)
        vectors[v * WARP] = make_uint4(word_at<BITS>(args, column, k, v, 0), word_at<BITS>(args, column, k, v, 1),
                                       word_at<BITS>(args, column, k, v, 2), word_at<BITS>(args, column, k, v, 3));
}

#define PACK_CODES(NAME, S, BITS) \
    extern "C" __global__ void __launch_bounds__(THREADS) pack_weights_##NAME##_w##BITS(const __grid_constant__ PackWeightsArgs<S> args) { store_codes<BITS>(args); }

#define PACK_DENSE(NAME, S, BITS) \
    PACK_CODES(NAME, S, BITS) \
    extern "C" __global__ void __launch_bounds__(THREADS) pack_weights_##NAME##_w##BITS##_grids(const __grid_constant__ PackWeightsArgs<S> args) { store_grids<BITS>(args); }

PACK_DENSE(f32, float, 4)
PACK_DENSE(f32, float, 8)
PACK_DENSE(f16, half, 4)
PACK_DENSE(f16, half, 8)
PACK_DENSE(bf16, bf16, 4)
PACK_DENSE(bf16, bf16, 8)
PACK_CODES(i32, uint32_t, 4)
PACK_CODES(i32, uint32_t, 8)
