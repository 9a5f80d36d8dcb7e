// fold_attention.cu - folds the records of rows into their result: what is left when all items of a plan are done.
//
// Why      Rows whose splits were computed side by side have a record of each, in the order of a list. A plan has such rows where there are
//          too few for all processors otherwise. Flash-Decoding; arXiv:2402.05099 for shared parts.
//
// Math     Step 5 and 6 of the canon (native/README.md): a left fold in the order of the list by fold_sums and fold_output, then the result is rounded once.
//
// Shapes   Those of AttentionItemArgs, whose items are AttentionMerge here.
//
// Tiling   grid = (merges, kv_heads, parts). The warps of a merge's parts take its rows in turn; a lane owns the columns 4 * lane .. + 3, and those 128 further
//          on. Slots, maxima and sums of up to 32 records are read at once, a lane each; then outputs, 4 records on their way together.
//
// Limits   head_dim <= 256, a multiple of 4.
//
// Cost     Memory bound: 4 * head_dim + 36 bytes per record of a row.

#include "kf/kf.cuh"

constexpr int WARPS = 4;   // of a block; CudaOperators.FoldAttention.cs uses the same number
constexpr int AHEAD = 4;   // records whose outputs are read together
constexpr int GROUPS = 2;  // of 4 columns that a lane owns

// A lane's columns of an output.
struct Columns {
    float values[GROUPS][4];
};

KF_INLINE int first_column(int group) { return (group * WARP + lane_id()) * 4; }

KF_INLINE Columns load_output(const float* output, int head_dim) {
    Columns columns = {};
#pragma unroll
    for (int group = 0; group < GROUPS; group++) {
        if (first_column(group) >= head_dim) continue;
        float4 four = *reinterpret_cast<const float4*>(output + first_column(group));
        columns.values[group][0] = four.x;
        columns.values[group][1] = four.y;
        columns.values[group][2] = four.z;
        columns.values[group][3] = four.w;
    }
    return columns;
}

KF_INLINE void fold_columns(Columns& total, const Columns& record, const FoldFactors& factors) {
#pragma unroll
    for (int group = 0; group < GROUPS; group++) {
#pragma unroll
        for (int i = 0; i < 4; i++) total.values[group][i] = fold_output(total.values[group][i], record.values[group][i], factors);
    }
}

// Folds count <= 32 records of a row into its total; their slot bases are bases[0 .. count - 1].
template <class T>
KF_INLINE void fold_run(SoftmaxTotal& total, Columns& output, const AttentionItemArgs<T>& args, const int* bases, int count, int row, int kv_head) {
    int slot = bases[min(lane_id(), count - 1)] + row;  // of the lane's record
    const float* sums = slot_sums(args, kv_head, slot);
    float max = sums[0], sum = sums[4];
    for (int first = 0; first < count; first += AHEAD) {
        Columns records[AHEAD];
#pragma unroll
        for (int i = 0; i < AHEAD; i++)
            if (first + i < count) records[i] = load_output(slot_output(args, kv_head, __shfl_sync(ALL_LANES, slot, first + i)), args.head_dim);
#pragma unroll
        for (int i = 0; i < AHEAD; i++) {
            if (first + i >= count) break;
            float max_of = __shfl_sync(ALL_LANES, max, first + i), sum_of = __shfl_sync(ALL_LANES, sum, first + i);
            fold_columns(output, records[i], fold_sums(total, 0, max_of, sum_of, args.scoring.scale));
        }
    }
}

template <class T>
KF_INLINE void write_row(const SoftmaxTotal& total, const Columns& output, const AttentionItemArgs<T>& args, int row, int kv_head) {
    int token = token_of(args, row), start = column_of(args, row, kv_head);
    float factor = inverse_of_sum(total.sum[0]);
    if (args.lse && lane_id() == 0) args.lse[(size_t)token * args.lse_stride + start / args.head_dim] = log_sum(total.max[0], total.sum[0], args.scoring.scale);
#pragma unroll
    for (int group = 0; group < GROUPS; group++) {
        if (first_column(group) >= args.head_dim) break;
        const float(&values)[4] = output.values[group];
        size_t element = (size_t)token * args.result_stride + start + first_column(group);
        store_result(args, element, __fmul_rn(values[0], factor), __fmul_rn(values[1], factor));
        store_result(args, element + 2, __fmul_rn(values[2], factor), __fmul_rn(values[3], factor));
    }
}

template <class T> KF_INLINE void fold_attention(const AttentionItemArgs<T>& args) {
    int index = args.item_range[0] + blockIdx.x, kv_head = blockIdx.y;
    if (index >= args.item_range[1]) return;
    AttentionMerge merge = reinterpret_cast<const AttentionMerge*>(args.items)[index];
    for (int row = merge.first_row + blockIdx.z * WARPS + warp_id(); row < merge.first_row + merge.rows; row += gridDim.z * WARPS) {
        SoftmaxTotal total;
        Columns output = {};
        for (int first = 0; first < merge.fold_count; first += WARP)
            fold_run(total, output, args, args.folds + merge.fold_start + first, min(WARP, merge.fold_count - first), row, kv_head);
        write_row(total, output, args, row, kv_head);
    }
}

extern "C" __global__ void __launch_bounds__(WARPS* WARP) fold_attention_f16(const __grid_constant__ AttentionItemArgs<half> args) { fold_attention(args); }
extern "C" __global__ void __launch_bounds__(WARPS* WARP) fold_attention_bf16(const __grid_constant__ AttentionItemArgs<bf16> args) { fold_attention(args); }
