// attention.cu - causal attention of query tokens over a paged cache of keys and values; on tensor cores.
//
// Why      Every layer of every step: prefill, chunks of it, decode and verification, in one batch of sequences of any length. A row (query
//          token and head) must have the same bits whatever is in the batch, however its prompt was cut and wherever its blocks are: the
//          canon of native/README.md. This is the readable kernel that defines those bits.
//          Online softmax: arXiv:1805.02867; on tensor cores: FlashAttention-2, arXiv:2307.08691; paging: arXiv:2309.06180.
//
// Math     out = sum_j softmax_j(scale * q.k_j) v_j over the positions j <= the token's own. With c = scale * log2(e), in tiles of TILE positions and
//          splits of SPLIT positions, both counted from position 0, ascending:
//            s_j = q.k_j, one chain of m16n8k16 steps from 0; -inf where j is behind the token
//            m' = max(m, s_j of the tile), a = 2^((m - m') c), p_j = 2^(s_j c - m' c), l = l a + sum p_j, O = O a + sum round(p_j) v_j
//          from (-inf, 0, 0) in every split. The splits are folded into (M, L, total) the same way; out = round(total / L). Tiles and splits
//          without a visible position change no bit, so it does not matter which of them a block visits.
//
// Shapes   queries, result  [tokens, kv_heads * group * head_dim]   T, rows ..._stride apart; the result may be float
//          cache            [block][K, V][kv_head][block_size][head_dim]   T
//          query_offsets    [sequences + 1]  where a sequence's query tokens start; ascending from 0 to tokens
//          context_lengths  [sequences]      position of its first query token
//          block_offsets    [sequences]      where its block table starts in block_tables
//
// Tiling   The rows of a sequence and kv head are numbered token * group + head in group: they read the same keys. A block takes up to 64 of them (32
//          when HEAD_DIM is 256), 16 a warp, and walks their positions in chunks of 32 that cp.async brings into two buffers; grid = (row tiles,
//          kv_heads). Sequence s owns the row tiles from offset * group / rows + s on: enough for any length, found by bisection, so the
//          grid is known without reading a length. Totals of splits wait in shared memory, each thread's own.
//
//          scores of a warp, 16 rows x TILE positions   lane: rows lane / 4 and + 8, positions 2 * (lane % 4) and + 1 of every 8
//          output of a warp, 16 rows x head_dim         the same with columns; a tile's p are operand A as they are
//
// Limits   head_dim <= HEAD_DIM, scale > 0, |s c| < 2^28 (beyond, p leaves the range of F16). Keys and values of all the sequence's positions
//          up to the step's last token are finite. Rows not at multiples of 16 bytes are read element by element.
//
// Cost     4 * head_dim FLOP per row and visible position; reads 4 * head_dim bytes per position and row tile.

#include "kf/kf.cuh"

// Positions of a softmax step. The canon of an architecture: two of them need not agree in their bits.
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
constexpr int TILE = 128;
#else
constexpr int TILE = 64;
#endif
constexpr int SPLIT = 512;  // positions; a multiple of TILE
constexpr int CHUNK = 32;   // positions of a buffer
constexpr int CHUNKS = TILE / CHUNK;

template <class T> struct AttentionArgs {  // mirrored by AttentionArgs in C#
    const T* queries;
    const T* cache;
    const int* query_offsets;
    const int* context_lengths;
    const int* block_offsets;
    const int* block_tables;
    void* result;  // T, or float
    int sequences, group, kv_heads, head_dim, block_size;
    int queries_stride, result_stride;
    int result_is_float;
    float scale;  // times log2(e)
};

// Sizes of an instantiation. CudaOperators.Attention.cs uses the same numbers.
template <int HEAD_DIM> struct Sizes {
    static constexpr int WARPS = HEAD_DIM <= 128 ? 4 : 2;
    static constexpr int ROWS = WARPS * 16;
};

// Dynamic shared memory of a block: HEAD_DIM * (6 * ROWS + 4 * CHUNK) bytes.
template <class T, int HEAD_DIM> struct Shared {
    T queries[Sizes<HEAD_DIM>::ROWS * HEAD_DIM];
    T chunks[2][CHUNK * HEAD_DIM];
    float totals[HEAD_DIM / 2][Sizes<HEAD_DIM>::ROWS * 2];  // [value of a thread][thread]
};

// The rows of a block and what they see.
struct RowTile {
    int rows;            // 0 when there is nothing to do
    int first_row;       // in the sequence
    int first_token;     // of the sequence, row of queries and result
    int context;         // position of that token
    int end;             // positions that any of the rows sees
    const int* blocks;   // of the sequence
    KF_INLINE int position(int row, int group) const { return context + (first_row + min(row, rows - 1)) / group; }
};

// A thread's part of the softmax of its two rows, side 0 and 1, over the tiles of a split.
template <int HEAD_DIM> struct State {
    float max[2], sum[2];
    float output[HEAD_DIM / 8][4];

    KF_INLINE void start() {
        max[0] = max[1] = -INFINITY;
        sum[0] = sum[1] = 0.0f;
#pragma unroll
        for (int n = 0; n < HEAD_DIM / 8; n++) {
#pragma unroll
            for (int i = 0; i < 4; i++) output[n][i] = 0.0f;
        }
    }
};

using Scores = float[TILE / 8][4];  // groups of 8 positions, values of a thread

// 2^((old - max) c), the difference first so that it is exactly 1 when the maximum stays; 1 before any score.
KF_INLINE float decay(float old, float max, float scale) { return max == -INFINITY ? 1.0f : ex2(__fmul_rn(__fsub_rn(old, max), scale)); }

// Over the four lanes that share a row, neighbours first.
KF_INLINE float quad_sum(float value) {
    value = __fadd_rn(value, __shfl_xor_sync(ALL_LANES, value, 1));
    return __fadd_rn(value, __shfl_xor_sync(ALL_LANES, value, 2));
}

template <int ROWS, class T> KF_INLINE int first_tile(const AttentionArgs<T>& args, int sequence) {
    return (int)((long long)args.query_offsets[sequence] * args.group / ROWS) + sequence;
}

template <int ROWS, class T> KF_INLINE RowTile find_rows(const AttentionArgs<T>& args) {
    int sequence = 0, above = args.sequences;  // first_tile(sequence) <= this tile < first_tile(above)
    while (above - sequence > 1) {
        int middle = (sequence + above) / 2;
        if (first_tile<ROWS>(args, middle) <= (int)blockIdx.x) sequence = middle;
        else above = middle;
    }

    RowTile tile;
    tile.first_token = args.query_offsets[sequence];
    tile.context = args.context_lengths[sequence];
    tile.blocks = args.block_tables + args.block_offsets[sequence];
    tile.first_row = ((int)blockIdx.x - first_tile<ROWS>(args, sequence)) * ROWS;
    int rows = (args.query_offsets[sequence + 1] - tile.first_token) * args.group;
    tile.rows = max(0, min(ROWS, rows - tile.first_row));
    tile.end = tile.position(ROWS - 1, args.group) + 1;
    return tile;
}

// Element of queries or result where a row starts.
template <class T> KF_INLINE size_t row_offset(const AttentionArgs<T>& args, const RowTile& tile, int row, int stride) {
    int in_sequence = tile.first_row + row, head = blockIdx.y * args.group + in_sequence % args.group;
    return (size_t)(tile.first_token + in_sequence / args.group) * stride + head * args.head_dim;
}

template <int HEAD_DIM, class T> KF_INLINE void load_queries(T* queries, const AttentionArgs<T>& args, const RowTile& tile) {
    int vectors = round_up(args.head_dim, 16) / 8;  // those that the tensor cores read
    bool aligned = rows_are_aligned(args.queries, args.queries_stride) && args.head_dim % 8 == 0;
    for (int i = threadIdx.x; i < Sizes<HEAD_DIM>::ROWS * vectors; i += blockDim.x) {
        int row = i / vectors, vector = i % vectors, count = row < tile.rows ? args.head_dim - vector * 8 : 0;
        const T* source = count > 0 ? args.queries + row_offset(args, tile, row, args.queries_stride) + vector * 8 : args.queries;
        copy_vector(queries + tile_offset<HEAD_DIM>(row, vector), source, count, aligned);
    }
}

// Starts the copy of the keys (side 0) or values (side 1) of a chunk of positions; zeros where nobody looks, since 0 * NaN is no 0.
template <int HEAD_DIM, class T> KF_INLINE void load_chunk(T* chunk, const AttentionArgs<T>& args, const RowTile& tile, int side, int first) {
    int vectors = round_up(args.head_dim, 16) / 8;
    bool aligned = rows_are_aligned(args.cache, args.head_dim);
    if (first < tile.end) {
        for (int i = threadIdx.x; i < CHUNK * vectors; i += blockDim.x) {
            int row = i / vectors, vector = i % vectors, position = first + row;
            int count = position < tile.end ? args.head_dim - vector * 8 : 0;
            const T* source = args.cache;
            if (count > 0) {
                int block = tile.blocks[position / args.block_size];
                size_t cache_row = ((size_t)(2 * block + side) * args.kv_heads + blockIdx.y) * args.block_size + position % args.block_size;
                source += cache_row * args.head_dim + vector * 8;
            }
            copy_vector(chunk + tile_offset<HEAD_DIM>(row, vector), source, count, aligned);
        }
    }
    cp_async_commit();
}

// Scores of the warp's 16 rows with the 32 keys of a chunk; 0 where the chunk has none.
template <int HEAD_DIM, class T> KF_INLINE void score(float (*scores)[4], const T* queries, const T* keys, int keys_there, int head_dim) {
#pragma unroll
    for (int n = 0; n < CHUNK / 8; n++) {
#pragma unroll
        for (int i = 0; i < 4; i++) scores[n][i] = 0.0f;
    }
#pragma unroll
    for (int step = 0; step < HEAD_DIM / 16; step++) {
        if (step * 16 >= head_dim || keys_there <= 0) break;
        uint32_t a[4], b[4];
        load_a<HEAD_DIM>(a, queries, warp_id() * 16, step);
#pragma unroll
        for (int n = 0; n < CHUNK / 8; n += 2) {
            load_b<HEAD_DIM>(b, keys, n * 8, step);
            mma_m16n8k16<T>(scores[n], a, b[0], b[1]);
            mma_m16n8k16<T>(scores[n + 1], a, b[2], b[3]);
        }
    }
}

// One step of the online softmax: turns scores into p and rescales the state. Rows are at the given positions.
template <int HEAD_DIM> KF_INLINE void add_scores(State<HEAD_DIM>& state, Scores& scores, int first, const int (&positions)[2], float scale) {
#pragma unroll
    for (int side = 0; side < 2; side++) {
        float max = state.max[side];
#pragma unroll
        for (int n = 0; n < TILE / 8; n++) {
#pragma unroll
            for (int i = 0; i < 2; i++) {
                float& score = scores[n][side * 2 + i];
                if (first + n * 8 + lane_id() % 4 * 2 + i > positions[side]) score = -INFINITY;
                max = fmaxf(max, score);
            }
        }
        max = reduce_lanes<4>(max, Max());

        float factor = decay(state.max[side], max, scale), shift = max == -INFINITY ? 0.0f : -__fmul_rn(max, scale), sum = 0.0f;
#pragma unroll
        for (int n = 0; n < TILE / 8; n++) {
#pragma unroll
            for (int i = 0; i < 2; i++) {
                float& score = scores[n][side * 2 + i];
                score = ex2(__fmaf_rn(score, scale, shift));
                sum = __fadd_rn(sum, score);
            }
        }
        state.max[side] = max;
        state.sum[side] = __fmaf_rn(state.sum[side], factor, sum);
#pragma unroll
        for (int n = 0; n < HEAD_DIM / 8; n++) {
            state.output[n][side * 2] = __fmul_rn(state.output[n][side * 2], factor);
            state.output[n][side * 2 + 1] = __fmul_rn(state.output[n][side * 2 + 1], factor);
        }
    }
}

// Adds p times the values of a chunk to the output.
template <int HEAD_DIM, class T>
KF_INLINE void add_values(State<HEAD_DIM>& state, const float (*p)[4], const T* values, int values_there, int head_dim) {
#pragma unroll
    for (int step = 0; step < CHUNK / 16; step++) {
        if (step * 16 >= values_there) break;
        const float(&left)[4] = p[2 * step], (&right)[4] = p[2 * step + 1];
        uint32_t a[4] = {pack<T>(left[0], left[1]), pack<T>(left[2], left[3]), pack<T>(right[0], right[1]), pack<T>(right[2], right[3])}, b[4];
#pragma unroll
        for (int pair = 0; pair < HEAD_DIM / 16; pair++) {
            if (pair * 16 >= head_dim) break;
            load_b_transposed<HEAD_DIM>(b, values, step * 16, pair);
            mma_m16n8k16<T>(state.output[2 * pair], a, b[0], b[1]);
            mma_m16n8k16<T>(state.output[2 * pair + 1], a, b[2], b[3]);
        }
    }
}

// The softmax over the splits so far; its output is the thread's column of Shared::totals.
struct Total {
    float max[2] = {-INFINITY, -INFINITY}, sum[2] = {0.0f, 0.0f};
};

// Adds a finished split to the total.
template <int HEAD_DIM, int THREADS>
KF_INLINE void fold_split(Total& total, float (&totals)[HEAD_DIM / 2][THREADS], const State<HEAD_DIM>& state, float scale) {
#pragma unroll
    for (int side = 0; side < 2; side++) {
        float max = fmaxf(total.max[side], state.max[side]);
        float of_total = decay(total.max[side], max, scale), of_split = decay(state.max[side], max, scale);
        total.max[side] = max;
        total.sum[side] = __fmaf_rn(quad_sum(state.sum[side]), of_split, __fmul_rn(total.sum[side], of_total));
#pragma unroll
        for (int n = 0; n < HEAD_DIM / 8; n++) {
#pragma unroll
            for (int i = side * 2; i < side * 2 + 2; i++) {
                float& value = totals[n * 4 + i][threadIdx.x];
                value = __fmaf_rn(state.output[n][i], of_split, __fmul_rn(value, of_total));
            }
        }
    }
}

template <int HEAD_DIM, int THREADS, class T>
KF_INLINE void write_result(const AttentionArgs<T>& args, const RowTile& tile, const Total& total, const float (&totals)[HEAD_DIM / 2][THREADS]) {
#pragma unroll
    for (int side = 0; side < 2; side++) {
        int row = warp_id() * 16 + lane_id() / 4 + side * 8;
        if (row >= tile.rows) break;
        size_t start = row_offset(args, tile, row, args.result_stride);
        float factor = rcp(total.sum[side]);
#pragma unroll
        for (int n = 0; n < HEAD_DIM / 8; n++) {
#pragma unroll
            for (int i = 0; i < 2; i++) {
                int column = n * 8 + lane_id() % 4 * 2 + i;
                if (column >= args.head_dim) break;
                float value = __fmul_rn(totals[n * 4 + side * 2 + i][threadIdx.x], factor);
                if (args.result_is_float) static_cast<float*>(args.result)[start + column] = value;
                else static_cast<T*>(args.result)[start + column] = from_float<T>(value);
            }
        }
    }
}

template <int HEAD_DIM, class T> KF_INLINE void attention(const AttentionArgs<T>& args) {
    extern __shared__ int4 memory[];
    auto& shared = *reinterpret_cast<Shared<T, HEAD_DIM>*>(memory);
    RowTile tile = find_rows<Sizes<HEAD_DIM>::ROWS>(args);
    if (tile.rows == 0) return;

    int row = warp_id() * 16 + lane_id() / 4;
    int positions[2] = {tile.position(row, args.group), tile.position(row + 8, args.group)};
    bool has_rows = warp_id() * 16 < tile.rows;  // warps without rows only copy
    State<HEAD_DIM> state;
    Total total;
    Scores scores;
    state.start();
#pragma unroll
    for (int i = 0; i < HEAD_DIM / 2; i++) shared.totals[i][threadIdx.x] = 0.0f;

    load_queries<HEAD_DIM>(shared.queries, args, tile);  // joins the group of the first keys
    load_chunk<HEAD_DIM>(shared.chunks[0], args, tile, 0, 0);
    for (int first = 0; first < tile.end; first += TILE) {
#pragma unroll
        for (int i = 0; i < CHUNKS; i++) {
            if (i + 1 < CHUNKS) load_chunk<HEAD_DIM>(shared.chunks[(i + 1) % 2], args, tile, 0, first + (i + 1) * CHUNK);
            else load_chunk<HEAD_DIM>(shared.chunks[0], args, tile, 1, first);
            cp_async_wait<1>();
            __syncthreads();  // the keys of chunk i are there, the first time the queries too
            if (has_rows)
                score<HEAD_DIM>(scores + i * CHUNK / 8, shared.queries, shared.chunks[i % 2], tile.end - first - i * CHUNK, args.head_dim);
            __syncthreads();  // they have been read: the buffer may be filled again
        }
        if (has_rows) add_scores(state, scores, first, positions, args.scale);
#pragma unroll
        for (int i = 0; i < CHUNKS; i++) {
            if (i + 1 < CHUNKS) load_chunk<HEAD_DIM>(shared.chunks[(i + 1) % 2], args, tile, 1, first + (i + 1) * CHUNK);
            else load_chunk<HEAD_DIM>(shared.chunks[0], args, tile, 0, first + TILE);
            cp_async_wait<1>();
            __syncthreads();  // the values of chunk i are there
            if (has_rows)
                add_values(state, scores + i * CHUNK / 8, shared.chunks[i % 2], tile.end - first - i * CHUNK, args.head_dim);
            __syncthreads();  // they have been read
        }
        if (has_rows && ((first + TILE) % SPLIT == 0 || first + TILE >= tile.end)) {
            fold_split<HEAD_DIM>(total, shared.totals, state, args.scale);
            state.start();
        }
    }
    if (has_rows) write_result<HEAD_DIM>(args, tile, total, shared.totals);
}

extern "C" __global__ void __launch_bounds__(128) attention_f16_simple_64(const __grid_constant__ AttentionArgs<half> args) { attention<64>(args); }
extern "C" __global__ void __launch_bounds__(128) attention_f16_simple_128(const __grid_constant__ AttentionArgs<half> args) { attention<128>(args); }
extern "C" __global__ void __launch_bounds__(64) attention_f16_simple_256(const __grid_constant__ AttentionArgs<half> args) { attention<256>(args); }
extern "C" __global__ void __launch_bounds__(128) attention_bf16_simple_64(const __grid_constant__ AttentionArgs<bf16> args) { attention<64>(args); }
extern "C" __global__ void __launch_bounds__(128) attention_bf16_simple_128(const __grid_constant__ AttentionArgs<bf16> args) { attention<128>(args); }
extern "C" __global__ void __launch_bounds__(64) attention_bf16_simple_256(const __grid_constant__ AttentionArgs<bf16> args) { attention<256>(args); }
