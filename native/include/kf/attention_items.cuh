// attention_items.cuh - what a plan asks of the attention kernels: runs of positions for runs of rows, and the states that pass between them.
//
// A plan (AttentionPlanner in C#) orders the step's query tokens so that those which share a prefix are neighbours. Row r of a key/value head is token
// r / group of that order, query head r % group of the key/value head. An item is a run of rows and a run of positions that all of them may see. It
//
//   1. starts its total by folding the records of its list, in the order of the list (nothing if the list is empty),
//   2. takes over the running state of a split that an earlier item left open (carry_in), or starts one,
//   3. walks its tiles; the state is folded into the total at every multiple of SPLIT, and at the end unless the split is left open (carry_out),
//   4. stores the total as a record (record_out), or, if it names neither record_out nor carry_out, writes the result.
//
// These are the steps of the canon in its order, so the bits are those of a row that walks all its positions alone. A record is the total of the splits
// 0 .. s, or a single split: only those can be folded in the order of the canon.
#pragma once

namespace kf {

// Mirrored by AttentionItem in C#.
struct alignas(16) AttentionItem {
    int first_row, rows;
    int first_position;          // the smallest position of its rows' tokens: tiles up to there need no mask
    int table;                   // where its block table starts in block_tables
    int first, end;              // positions; first is a multiple of TILE, and end too if the split is left open
    int fold_start, fold_count;  // its list in folds
    int carry_in, carry_out, record_out;  // slot bases, or NO_SLOT; slot of row r = base + r
    int reserved;
};

// Rows whose records are folded into their result. Mirrored by AttentionMerge in C#.
struct alignas(16) AttentionMerge {
    int first_row, rows, fold_start, fold_count;
};

constexpr int NO_SLOT = INT_MIN;

// Floats of a slot besides its output: the maximum, three unused, and the sums of the four lanes that share a row (the first has it all in a record).
constexpr int SLOT_SUMS = 8;

template <class T> struct AttentionItemArgs {  // mirrored by AttentionItemArgs in C#
    const T* queries;          // [tokens, kv_heads * group * head_dim], rows queries_stride apart
    const T* keys;             // of kv head 0, position 0 of block 0
    const T* values;           // the same
    void* result;              // [tokens, kv_heads * group * head_dim] T, or float
    float* lse;                // [tokens, kv_heads * group], natural logarithm; may be null
    const int* row_tokens;     // [tokens] row of queries and result, by order of the plan; null: the same
    const int* row_positions;  // [tokens] absolute position, by order of the plan; null: behind every key
    const int* block_tables;   // null: block i of an item is block i
    const int* folds;          // slot bases: slot of row r = base + r
    const AttentionItem* items;
    const int* item_range;     // the items of this launch are items[item_range[0] .. item_range[1] - 1]
    float* outputs;            // [kv_heads][slots][head_dim]
    float* sums;               // [kv_heads][slots][SLOT_SUMS]
    long long block_stride;    // elements from a block to the next
    int head_stride, position_stride;
    int group, kv_heads, head_dim, block_size, slots;
    int queries_stride, result_stride, lse_stride;
    int window;                // positions that a token sees, its own included; 0: all
    int result_is_float;
    Scoring scoring;
    int reserved;
};

// Element of keys or values where a position starts.
template <class T> KF_INLINE size_t position_offset(const AttentionItemArgs<T>& args, int table, int kv_head, int position) {
    int index = position / args.block_size, block = args.block_tables ? args.block_tables[table + index] : index;
    return block * args.block_stride + (size_t)kv_head * args.head_stride + (size_t)(position - index * args.block_size) * args.position_stride;
}

// Row of queries and result of a plan's row.
template <class T> KF_INLINE int token_of(const AttentionItemArgs<T>& args, int row) {
    int token = row / args.group;
    return args.row_tokens ? args.row_tokens[token] : token;
}

// Column of queries and result where a plan's row starts.
template <class T> KF_INLINE int column_of(const AttentionItemArgs<T>& args, int row, int kv_head) {
    return (kv_head * args.group + row % args.group) * args.head_dim;
}

template <class T> KF_INLINE Visible visible_of(const AttentionItemArgs<T>& args, int row) {
    if (!args.row_positions) return {0, INT_MAX};
    int last = args.row_positions[row / args.group];
    return {args.window > 0 ? last - args.window + 1 : 0, last};
}

// Whether a tile holds positions that some row of the item does not see, or that nobody loaded.
template <class T> KF_INLINE bool needs_mask(const AttentionItemArgs<T>& args, const AttentionItem& item, int first) {
    return args.window > 0 || first + TILE - 1 > item.first_position || first + TILE > item.end;
}

// The output of a SoftmaxTotal in registers.
template <int HEAD_DIM> struct RegisterOutput {
    float values[HEAD_DIM / 8][4];
    KF_INLINE float& operator()(int n, int i) { return values[n][i]; }
};

// The output of a SoftmaxTotal in shared memory: the thread's column of [HEAD_DIM / 2][threads] floats.
template <int HEAD_DIM, int THREADS> struct SharedOutput {
    float* column;
    KF_INLINE float& operator()(int n, int i) { return column[(n * 4 + i) * THREADS]; }
};

template <int HEAD_DIM, class Output> KF_INLINE void start_total(SoftmaxTotal& total, Output& output) {
    total = SoftmaxTotal();
#pragma unroll
    for (int n = 0; n < HEAD_DIM / 8; n++) {
#pragma unroll
        for (int i = 0; i < 4; i++) output(n, i) = 0.0f;
    }
}

// Adds a finished split to the total; split(n, i) is the split's output, where it does not lie in the state.
template <int HEAD_DIM, class Output, class Split>
KF_INLINE void fold_split(SoftmaxTotal& total, Output& output, const SoftmaxState<HEAD_DIM>& state, Split split, float scale) {
#pragma unroll
    for (int side = 0; side < 2; side++) {
        FoldFactors factors = fold_sums(total, side, state.max[side], quad_sum(state.sum[side]), scale);
#pragma unroll
        for (int n = 0; n < HEAD_DIM / 8; n++) {
#pragma unroll
            for (int i = side * 2; i < side * 2 + 2; i++) output(n, i) = fold_output(output(n, i), split(n, i), factors);
        }
    }
}
template <int HEAD_DIM, class Output>
KF_INLINE void fold_state(SoftmaxTotal& total, Output& output, const SoftmaxState<HEAD_DIM>& state, float scale) {
    fold_split(total, output, state, [&](int n, int i) { return state.output[n][i]; }, scale);
}

// Where a slot's output, or its maximum and sums, start.
template <class T> KF_INLINE float* slot_output(const AttentionItemArgs<T>& args, int kv_head, int slot) {
    return args.outputs + ((size_t)kv_head * args.slots + slot) * args.head_dim;
}
template <class T> KF_INLINE float* slot_sums(const AttentionItemArgs<T>& args, int kv_head, int slot) {
    return args.sums + ((size_t)kv_head * args.slots + slot) * SLOT_SUMS;
}

// Row of the plan on a side of a lane of a warp whose 16 rows start at warp_row of the item.
KF_INLINE int plan_row(const AttentionItem& item, int warp_row, int side) { return item.first_row + warp_row + lane_id() / 4 + side * 8; }

KF_INLINE bool has_row(const AttentionItem& item, int row) { return row < item.first_row + item.rows; }

// A lane's two columns of group n of a slot's output; zero behind head_dim.
KF_INLINE float2 load_columns(const float* output, int n, int head_dim) {
    int column = n * 8 + lane_id() % 4 * 2;
    return column < head_dim ? *reinterpret_cast<const float2*>(output + column) : make_float2(0.0f, 0.0f);
}
KF_INLINE void store_columns(float* output, int n, int head_dim, float first, float second) {
    int column = n * 8 + lane_id() % 4 * 2;
    if (column < head_dim) *reinterpret_cast<float2*>(output + column) = make_float2(first, second);
}

// Step 1: the total of the item's list. All lanes of a warp come here together.
template <int HEAD_DIM, class Output, class T>
KF_INLINE void fold_records(SoftmaxTotal& total, Output& output, const AttentionItemArgs<T>& args, const AttentionItem& item, int kv_head, int warp_row) {
    start_total<HEAD_DIM>(total, output);
    for (int k = 0; k < item.fold_count; k++) {
        int base = args.folds[item.fold_start + k];
#pragma unroll
        for (int side = 0; side < 2; side++) {
            int row = plan_row(item, warp_row, side);
            if (!has_row(item, row)) continue;
            const float* sums = slot_sums(args, kv_head, base + row);
            const float* record = slot_output(args, kv_head, base + row);
            FoldFactors factors = fold_sums(total, side, sums[0], sums[4], args.scoring.scale);
#pragma unroll
            for (int n = 0; n < HEAD_DIM / 8; n++) {
                float2 columns = load_columns(record, n, args.head_dim);
                output(n, side * 2) = fold_output(output(n, side * 2), columns.x, factors);
                output(n, side * 2 + 1) = fold_output(output(n, side * 2 + 1), columns.y, factors);
            }
        }
    }
}

// Step 2: the state that an earlier item left open, or a new one.
template <int HEAD_DIM, class T>
KF_INLINE void load_carry(SoftmaxState<HEAD_DIM>& state, const AttentionItemArgs<T>& args, const AttentionItem& item, int kv_head, int warp_row) {
    state.start();
    if (item.carry_in == NO_SLOT) return;
#pragma unroll
    for (int side = 0; side < 2; side++) {
        int row = plan_row(item, warp_row, side);
        if (!has_row(item, row)) continue;
        const float* sums = slot_sums(args, kv_head, item.carry_in + row);
        const float* carry = slot_output(args, kv_head, item.carry_in + row);
        state.max[side] = sums[0];
        state.sum[side] = sums[4 + lane_id() % 4];
#pragma unroll
        for (int n = 0; n < HEAD_DIM / 8; n++) {
            float2 columns = load_columns(carry, n, args.head_dim);
            state.output[n][side * 2] = columns.x;
            state.output[n][side * 2 + 1] = columns.y;
        }
    }
}

// Step 4: leaves the split open for another item.
template <int HEAD_DIM, class T>
KF_INLINE void store_carry(const SoftmaxState<HEAD_DIM>& state, const AttentionItemArgs<T>& args, const AttentionItem& item, int kv_head, int warp_row) {
#pragma unroll
    for (int side = 0; side < 2; side++) {
        int row = plan_row(item, warp_row, side);
        if (!has_row(item, row)) continue;
        float* sums = slot_sums(args, kv_head, item.carry_out + row);
        float* carry = slot_output(args, kv_head, item.carry_out + row);
        if (lane_id() % 4 == 0) sums[0] = state.max[side];
        sums[4 + lane_id() % 4] = state.sum[side];
#pragma unroll
        for (int n = 0; n < HEAD_DIM / 8; n++) store_columns(carry, n, args.head_dim, state.output[n][side * 2], state.output[n][side * 2 + 1]);
    }
}

// Step 4: the total as a record.
template <int HEAD_DIM, class Output, class T>
KF_INLINE void store_record(
    const SoftmaxTotal& total, Output& output, const AttentionItemArgs<T>& args, const AttentionItem& item, int kv_head, int warp_row) {
#pragma unroll
    for (int side = 0; side < 2; side++) {
        int row = plan_row(item, warp_row, side);
        if (!has_row(item, row)) continue;
        float* sums = slot_sums(args, kv_head, item.record_out + row);
        float* record = slot_output(args, kv_head, item.record_out + row);
        if (lane_id() % 4 == 0) {
            sums[0] = total.max[side];
            sums[4] = total.sum[side];
        }
#pragma unroll
        for (int n = 0; n < HEAD_DIM / 8; n++) store_columns(record, n, args.head_dim, output(n, side * 2), output(n, side * 2 + 1));
    }
}

// 1 / sum, and 0 for a row that saw nothing, whose result is 0.
KF_INLINE float inverse_of_sum(float sum) { return sum > 0.0f ? rcp(sum) : 0.0f; }

// Natural logarithm of the sum of the exponentials of a row's scores; -inf of none.
KF_INLINE float log_sum(float max, float sum, float scale) {
    constexpr float LN_2 = 0.693147180559945309f;
    return max == -INFINITY ? -INFINITY : __fmul_rn(__fmaf_rn(max, scale, lg2(sum)), LN_2);
}

// Two neighbouring elements of the result.
template <class T> KF_INLINE void store_result(const AttentionItemArgs<T>& args, size_t element, float first, float second) {
    if (args.result_is_float) {
        float* result = static_cast<float*>(args.result) + element;
        result[0] = first;
        result[1] = second;
    } else {
        T* result = static_cast<T*>(args.result) + element;
        result[0] = from_float<T>(first);
        result[1] = from_float<T>(second);
    }
}

// Step 4: the result.
template <int HEAD_DIM, class Output, class T>
KF_INLINE void write_result(
    const SoftmaxTotal& total, Output& output, const AttentionItemArgs<T>& args, const AttentionItem& item, int kv_head, int warp_row) {
#pragma unroll
    for (int side = 0; side < 2; side++) {
        int row = plan_row(item, warp_row, side);
        if (!has_row(item, row)) continue;
        int token = token_of(args, row), start = column_of(args, row, kv_head);
        float factor = inverse_of_sum(total.sum[side]);
        if (args.lse && lane_id() % 4 == 0)
            args.lse[(size_t)token * args.lse_stride + start / args.head_dim] = log_sum(total.max[side], total.sum[side], args.scoring.scale);
#pragma unroll
        for (int n = 0; n < HEAD_DIM / 8; n++) {
            int column = n * 8 + lane_id() % 4 * 2;  // head_dim is even
            if (column >= args.head_dim) break;
            store_result(args, (size_t)token * args.result_stride + start + column,
                         __fmul_rn(output(n, side * 2), factor), __fmul_rn(output(n, side * 2 + 1), factor));
        }
    }
}

}  // namespace kf
