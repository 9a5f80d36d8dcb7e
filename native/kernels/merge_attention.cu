// merge_attention.cu - joins attention over two disjoint sets of keys.
//
// Why      Attention over a prefix and attention over a sequence's own keys, each with its normalised result and the logarithm of its sum of
//          exponentials (lse), become attention over both. Hydragen, arXiv:2402.05099.
//
// Math     lse = log(e^lse_a + e^lse_b)
//          out = e^(lse_a - lse) out_a + e^(lse_b - lse) out_b
//          A part without keys has lse = -inf and weight 0. Two of them give out = 0 and lse = -inf.
//
// Shapes   out_a, out_b, out   [tokens, heads * head_dim]   T, rows ..._stride apart
//          lse_a, lse_b, lse   [tokens, heads]              float, the same
//          The result may be a or b.
//
// Tiling   One warp per token and head, 4 in a block; a lane owns the 16-byte vectors lane, lane + 32, ... of its row.
//
// Cost     Memory bound: 3 * tokens * heads * (head_dim * sizeof(T) + 4) bytes.

#include "kf/kf.cuh"

constexpr int WARPS = 4;  // CudaOperators.MergeAttention.cs uses the same number
constexpr float LOG2_E = 1.44269504088896341f, LN_2 = 0.693147180559945309f;

template <class T> struct StateArgs {  // mirrored by StateArgs in C#
    T* out;
    float* lse;
    int out_stride, lse_stride;
};

template <class T> struct MergeAttentionArgs {  // mirrored by MergeAttentionArgs in C#
    StateArgs<T> a, b, result;
    int tokens, heads, head_dim, reserved;
};

// Elements of a state's row.
template <class T> struct Row {
    T* elements;
    bool is_aligned;
    KF_INLINE Row(const StateArgs<T>& state, int token, int head, int head_dim)
        : elements(state.out + (size_t)token * state.out_stride + head * head_dim),
          is_aligned(rows_are_aligned(state.out, state.out_stride) && head_dim % PER_VECTOR<T> == 0) {}
};

// How much each part weighs.
struct Weights {
    float a, b;
};

template <class T> KF_INLINE void merge_row(const Row<T>& a, const Row<T>& b, const Row<T>& result, const Weights& weights, int head_dim) {
    for (int start = lane_id() * PER_VECTOR<T>; start < head_dim; start += WARP * PER_VECTOR<T>) {
        Vector<T> of_a = load_elements(a.elements, start, head_dim, a.is_aligned), of_b = load_elements(b.elements, start, head_dim, b.is_aligned), merged;
#pragma unroll
        for (int i = 0; i < PER_VECTOR<T>; i++) merged[i] = from_float<T>(__fmaf_rn(weights.a, to_float(of_a[i]), __fmul_rn(weights.b, to_float(of_b[i]))));
        store_elements(result.elements, start, head_dim, result.is_aligned, merged);
    }
}

template <class T> KF_INLINE void merge_attention(const MergeAttentionArgs<T>& args) {
    int row = blockIdx.x * WARPS + warp_id(), token = row / args.heads, head = row % args.heads;
    if (token >= args.tokens) return;  // whole warps leave together
    float lse_a = args.a.lse[(size_t)token * args.a.lse_stride + head], lse_b = args.b.lse[(size_t)token * args.b.lse_stride + head];

    // The larger one is subtracted first. Of two empty parts it is -inf, and -inf - -inf is NaN: there both exponentials are 0 as they are.
    float larger = fmaxf(lse_a, lse_b), shift = larger == -INFINITY ? 0.0f : larger;
    Weights weights{ex2(__fmul_rn(__fsub_rn(lse_a, shift), LOG2_E)), ex2(__fmul_rn(__fsub_rn(lse_b, shift), LOG2_E))};
    float sum = __fadd_rn(weights.a, weights.b), factor = inverse_of_sum(sum);
    weights.a = __fmul_rn(weights.a, factor);
    weights.b = __fmul_rn(weights.b, factor);

    merge_row(Row<T>(args.a, token, head, args.head_dim), Row<T>(args.b, token, head, args.head_dim), Row<T>(args.result, token, head, args.head_dim),
              weights, args.head_dim);
    __syncwarp();  // every lane has read lse_a and lse_b: one of them may be what is written now
    if (lane_id() == 0) args.result.lse[(size_t)token * args.result.lse_stride + head] = __fmaf_rn(lg2(sum), LN_2, shift);
}

extern "C" __global__ void __launch_bounds__(WARPS* WARP) merge_attention_f16(const __grid_constant__ MergeAttentionArgs<half> args) { merge_attention(args); }
extern "C" __global__ void __launch_bounds__(WARPS* WARP) merge_attention_bf16(const __grid_constant__ MergeAttentionArgs<bf16> args) { merge_attention(args); }
extern "C" __global__ void __launch_bounds__(WARPS* WARP) merge_attention_f32(const __grid_constant__ MergeAttentionArgs<float> args) { merge_attention(args); }
