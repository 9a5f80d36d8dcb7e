// accepted_moves.cu - where keys and values of accepted nodes have to go.
//
// Why      The accepted path of a token tree lies in slots of its branches. realign.cu moves it to where a chain would have put it; this says from where to
//          where, on the device, so that nothing waits.
//
// Math     node t of a sequence:  {slots[path[t]], targets[t]} while t is less than the tokens gained, {0, 0} (moves nothing) from there on
//
// Shapes   rows      [rows]       the sequences; their nodes follow one another without gaps
//          offsets   [rows + 1]   where the gained tokens of each sequence begin, by verify_drafts.cu
//          path      [nodes]      the accepted nodes, counted within their sequence, from offsets on
//          slots     [nodes]      where keys and values of each node are
//          targets   [nodes]      where those of the t-th accepted node belong
//          moves     [nodes]
//
// Tiling   A warp per sequence, a lane per node.
//
// Limits   None.
//
// Cost     Launch bound: at most 20 bytes per node.

#include "kf/kf.cuh"

constexpr int THREADS = 256;  // CudaOperators.AcceptedMoves.cs uses the same number
constexpr int WARPS = THREADS / WARP;

struct KvMove {  // mirrored by KvMove in C#
    int source, destination;
};

struct AcceptedMovesArgs {  // mirrored by AcceptedMovesArgs in C#
    const DraftRow* rows;
    const int* offsets;
    const int* path;
    const int* slots;
    const int* targets;
    KvMove* moves;
    int row_count;
    int padding;
};

extern "C" __global__ void __launch_bounds__(THREADS) accepted_moves_i32(const __grid_constant__ AcceptedMovesArgs args) {
    int index = blockIdx.x * WARPS + warp_id();
    if (index >= args.row_count) return;

    DraftRow row = args.rows[index];
    int start = args.offsets[index], gained = args.offsets[index + 1] - start;
    for (int t = lane_id(); t < row.nodes; t += WARP) {
        KvMove move{0, 0};
        if (t < gained) move = {args.slots[row.first_node + args.path[start + t]], args.targets[row.first_node + t]};
        args.moves[row.first_node + t] = move;
    }
}
