// sample_top.cu - the tokens with the largest score + noise of each row, best first.
//
// Why      Branches of a token tree: the first is the token that sample.cu draws, the others are those that would have been drawn had the ones before been
//          forbidden.
//
// Math     Of the tokens that top-k, top-p and min-p leave those with the largest score + Gumbel noise (sample.cu), in descending order; where the draw is certain
//          (temperature 0) those with the largest logits, ties to the lower id. -1 where no token is left.
//
// Shapes   logits   [rows, columns]   float, rows stride apart
//          rows     [rows]            how to draw
//          result   [rows * count]    int
//
// Tiling   One block per row; each token is one pass over the row, which lies in the cache, for the best one behind the last.
//
// Limits   columns <= MAX_VOCABULARY
//
// Cost     rows * columns * 4 bytes from memory, count passes over the cache besides those of sample.cu.

#include "kf/kf.cuh"

constexpr int THREADS = 256;  // CudaOperators.SampleTop.cs uses the same number
constexpr int WARPS = THREADS / WARP;
using Room = BlockRoom<WARPS>;

struct SampleTopArgs {  // mirrored by SampleTopArgs in C#
    const float* logits;
    const SamplingRow* rows;
    int* result;
    int columns;
    int stride;
    int count;
    int padding;
};

constexpr int NO_ID = -1;

KF_INLINE void write(int* result, int token) {
    if (threadIdx.x == 0) *result = token;
}

// The likeliest token, then those with the next largest logits.
KF_INLINE void write_largest(const float* logits, int columns, int likeliest, int* result, int count, Room& room) {
    write(result, likeliest);
    TokenKey key = token_key(logits[likeliest], likeliest);
    for (int i = 1; i < count; i++) {
        key = next_key(logits, columns, key, room);
        write(result + i, logit_of(key) > -INFINITY ? id_of(key) : NO_ID);
    }
}

KF_INLINE void write_winners(const ScaledLogits& scaled, const SamplingRow& row, int likeliest, int* result, int count, Room& room) {
    TokenFilter filter = filter_of(scaled, row, room);
    TokenKey key = 0;
    for (int i = 0; i < count; i++) {
        if (key != NO_TOKEN) key = race(scaled, row, likeliest, filter, key, room);
        write(result + i, key == NO_TOKEN ? NO_ID : id_of(key));
    }
}

extern "C" __global__ void __launch_bounds__(THREADS, 2) sample_top_f32(const __grid_constant__ SampleTopArgs args) {
    __shared__ Room room;
    const float* logits = args.logits + (size_t)blockIdx.x * args.stride;
    SamplingRow row = args.rows[blockIdx.x];
    int* result = args.result + (size_t)blockIdx.x * args.count;
    int likeliest = id_of(likeliest_key(logits, args.columns, room));
    float largest = logits[likeliest];
    if (is_certain(row, largest)) write_largest(logits, args.columns, likeliest, result, args.count, room);
    else write_winners({logits, args.columns, largest, row.temperature}, row, likeliest, result, args.count, room);
}
