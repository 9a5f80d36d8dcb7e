// verify_drafts.cu - accept drafted tokens as far as they are what the target model chose.
//
// Why      Verification of speculative decoding (arXiv:2211.17192, with chosen tokens in the place of probabilities) and what a step needs of it next: tokens
//          gained, lengths, KV blocks, ends, and the list of the sequences that go on. All of it in one launch, so that no loop waits for the device.
//
// Math     From node 0 on: the token chosen after a node is gained; its child with that token, the first of equal ones, is the next node.
//          The path ends where there is no such child, at a stop token, or at the greatest length.
//
// Shapes   rows                         [rows]       the sequences; their nodes follow one another without gaps
//          parents, tokens, chosen      [nodes]      of node 0 only chosen is read
//          stops                                     stop tokens that rows point into
//          active_count, active         [1], [rows]  sequences that go on, ascending
//          offsets                      [rows + 1]   where the tokens of each sequence begin in gained and path
//          lengths, blocks, ends        [rows]
//          gained, path                 [nodes]      tokens, and the nodes after which they were chosen
//
// Tiling   One block, a thread per sequence, as many sequences at a time as it has threads. A parent stands before its children, so one pass over the nodes
//          follows the path, and its reads of parents do not wait for one another. A scan over the threads gives offsets and places in the active list; then the
//          path is walked back from its last node, and its tokens written.
//
// Limits   None on nodes or rows.
//
// Cost     Launch bound: at most 12 bytes per node read and 8 per token written, some 50 bytes per sequence, two barriers per 1024 sequences.

#include "kf/kf.cuh"

constexpr int MOST_THREADS = 1024;  // CudaOperators.VerifyDrafts.cs uses the same number

enum End { GOES_ON, AT_STOP, AT_LENGTH };  // DraftEnd in C#

struct VerifyDraftsArgs {  // mirrored by VerifyDraftsArgs in C#
    const DraftRow* rows;
    const int* parents;
    const int* tokens;
    const int* chosen;
    const int* stops;
    int* active_count;
    int* offsets;
    int* lengths;
    int* blocks;
    int* ends;
    int* active;
    int* gained;
    int* path;
    int row_count;
    int block_size;
};

// Two counts in one number: tokens gained below, sequences that go on above.
using Counts = unsigned long long;

KF_INLINE Counts counts_of(int gained, bool goes_on) { return (Counts)goes_on << 32 | (uint32_t)gained; }
KF_INLINE int gained_of(Counts counts) { return (int)(uint32_t)counts; }
KF_INLINE int active_of(Counts counts) { return (int)(counts >> 32); }

// The sum over this lane and those before it.
KF_INLINE Counts warp_scan(Counts counts) {
#pragma unroll
    for (int distance = 1; distance < WARP; distance *= 2) {
        Counts before = __shfl_up_sync(ALL_LANES, counts, distance);
        if (lane_id() >= distance) counts += before;
    }
    return counts;
}

struct Scan {
    Counts before, total;  // of the threads before this one; of all threads
};

KF_INLINE Scan block_scan(Counts counts, Counts (&of_warps)[WARP]) {
    Counts up_to = warp_scan(counts);
    if (lane_id() == WARP - 1) of_warps[warp_id()] = up_to;
    __syncthreads();  // every warp's sum is there
    Counts of_warp = lane_id() < blockDim.x / WARP ? of_warps[lane_id()] : 0, up_to_warp = warp_scan(of_warp);
    __syncthreads();  // every thread has read: of_warps may be used again
    Counts before_warp = __shfl_sync(ALL_LANES, up_to_warp - of_warp, warp_id());
    return {before_warp + up_to - counts, __shfl_sync(ALL_LANES, up_to_warp, WARP - 1)};
}

// How a sequence stands after a token that is its length-th.
KF_INLINE End end_after(const VerifyDraftsArgs& args, const DraftRow& row, int token, int length) {
    bool may_stop = length > row.min_length;
    for (int i = 0; may_stop && i < row.stops; i++)
        if (args.stops[row.first_stop + i] == token) return AT_STOP;
    return length >= row.max_length ? AT_LENGTH : GOES_ON;
}

struct Outcome {
    int gained;
    int last;  // node of the path
    End end;
};

KF_INLINE Outcome verify(const VerifyDraftsArgs& args, const DraftRow& row) {
    constexpr int NO_NODE = -1;
    const int *parents = args.parents + row.first_node, *tokens = args.tokens + row.first_node, *chosen = args.chosen + row.first_node;
    int token = chosen[0];
    Outcome outcome{1, 0, end_after(args, row, token, row.length + 1)};
    int open = outcome.end == GOES_ON ? 0 : NO_NODE;  // whose child would be next
#pragma unroll 4
    for (int child = 1; child < row.nodes; child++) {
        if (parents[child] != open || tokens[child] != token) continue;
        token = chosen[child];
        outcome = {outcome.gained + 1, child, end_after(args, row, token, row.length + outcome.gained + 1)};
        open = outcome.end == GOES_ON ? child : NO_NODE;
    }
    return outcome;
}

KF_INLINE void write_outcome(const VerifyDraftsArgs& args, int index, int length, const Outcome& outcome, Counts before) {
    args.offsets[index] = gained_of(before);
    args.lengths[index] = length;
    args.blocks[index] = ceil_div(length, args.block_size);
    args.ends[index] = outcome.end;
    if (outcome.end == GOES_ON) args.active[active_of(before)] = index;
}

// From the last node up to node 0, whose parent is not read.
KF_INLINE void write_path(const VerifyDraftsArgs& args, const DraftRow& row, int start, const Outcome& outcome) {
    int node = outcome.last;
    for (int at = start + outcome.gained - 1;; at--) {
        args.gained[at] = args.chosen[row.first_node + node];
        args.path[at] = node;
        if (at == start) return;
        node = args.parents[row.first_node + node];
    }
}

extern "C" __global__ void __launch_bounds__(MOST_THREADS) verify_drafts_i32(const __grid_constant__ VerifyDraftsArgs args) {
    __shared__ Counts of_warps[WARP];
    Counts before = 0;
    for (int first = 0; first < args.row_count; first += blockDim.x) {
        int index = first + threadIdx.x;
        bool is_row = index < args.row_count;
        DraftRow row = is_row ? args.rows[index] : DraftRow{};
        Outcome outcome = is_row ? verify(args, row) : Outcome{0, 0, AT_LENGTH};

        Scan scan = block_scan(counts_of(outcome.gained, outcome.end == GOES_ON), of_warps);
        Counts at = before + scan.before;
        before += scan.total;
        if (!is_row) continue;
        write_outcome(args, index, row.length + outcome.gained, outcome, at);
        write_path(args, row, gained_of(at), outcome);
    }
    if (threadIdx.x != 0) return;
    args.offsets[args.row_count] = gained_of(before);
    args.active_count[0] = active_of(before);
}
