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
    int window;  // positions that a token sees, its own included; 0: all
    int result_is_float;
    Scoring scoring;
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
    template <class T> KF_INLINE Visible visible(int row, const AttentionArgs<T>& args) const {
        int last = position(row, args.group);
        return {args.window > 0 ? last - args.window + 1 : 0, last};
    }
};

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

// Adds p times the values of a chunk to the output.
template <int HEAD_DIM, class T>
KF_INLINE void add_values(SoftmaxState<HEAD_DIM>& state, const float (*p)[4], const T* values, int values_there, int head_dim) {
#pragma unroll
    for (int step = 0; step < CHUNK / 16; step++) {
        if (step * 16 >= values_there) break;
        uint32_t a[4], b[4];
        pack_weights<T>(a, p, step);
#pragma unroll
        for (int pair = 0; pair < HEAD_DIM / 16; pair++) {
            if (pair * 16 >= head_dim) break;
            load_b_transposed<HEAD_DIM>(b, values, step * 16, pair);
            mma_m16n8k16<T>(state.output[2 * pair], a, b[0], b[1]);
            mma_m16n8k16<T>(state.output[2 * pair + 1], a, b[2], b[3]);
        }
    }
}

template <int HEAD_DIM, class Output, class T>
KF_INLINE void write_result(const AttentionArgs<T>& args, const RowTile& tile, const SoftmaxTotal& total, Output& output) {
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
                float value = __fmul_rn(output(n, side * 2 + i), factor);
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
    Visible visible[2] = {tile.visible(row, args), tile.visible(row + 8, args)};
    bool has_rows = warp_id() * 16 < tile.rows;  // warps without rows only copy
    SoftmaxState<HEAD_DIM> state;
    SoftmaxTotal total;
    SharedOutput<HEAD_DIM, Sizes<HEAD_DIM>::ROWS * 2> output{&shared.totals[0][threadIdx.x]};
    Scores scores;
    state.start();
    start_total<HEAD_DIM>(total, output);

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
        if (has_rows) {
            if (args.scoring.cap != 0.0f) cap_scores(scores, args.scoring);
            mask_scores(scores, first, visible);
            add_scores(state, scores, args.scoring.scale);
        }
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
            fold_state(total, output, state, args.scoring.scale);
            state.start();
        }
    }
    if (has_rows) write_result<HEAD_DIM>(args, tile, total, output);
}

extern "C" __global__ void __launch_bounds__(128) attention_f16_simple_64(const __grid_constant__ AttentionArgs<half> args) { attention<64>(args); }
extern "C" __global__ void __launch_bounds__(128) attention_f16_simple_128(const __grid_constant__ AttentionArgs<half> args) { attention<128>(args); }
extern "C" __global__ void __launch_bounds__(64) attention_f16_simple_256(const __grid_constant__ AttentionArgs<half> args) { attention<256>(args); }
extern "C" __global__ void __launch_bounds__(128) attention_bf16_simple_64(const __grid_constant__ AttentionArgs<bf16> args) { attention<64>(args); }
extern "C" __global__ void __launch_bounds__(128) attention_bf16_simple_128(const __grid_constant__ AttentionArgs<bf16> args) { attention<128>(args); }
extern "C" __global__ void __launch_bounds__(64) attention_bf16_simple_256(const __grid_constant__ AttentionArgs<bf16> args) { attention<256>(args); }
