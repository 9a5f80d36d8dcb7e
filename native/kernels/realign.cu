// realign.cu - move keys and values of single token positions within paged caches, in all layers.
//
// Why      A token tree that was verified in one pass leaves the accepted path scattered over the slots of its nodes; a branch starts as a copy of a partly filled
//          block. Chains of drafts move nothing. Token trees: arXiv:2308.04623.
//
// Math     for each move of a group, in order:  layer[slot destination] = layer[slot source], keys and values of all heads
//
// Shapes   layers  [layers] pointers, each [block][K, V][kv_head][block_size][head_dim]   T
//          moves   [moves]       source and destination, each block * block_size + offset; no destination twice
//          groups  [groups + 1]  where each group's moves start and end
//
// Tiling   grid = (groups, ceil(vectors of a slot's keys / 128), layers): a thread owns one 16-byte vector of the keys of a slot and the one of the values beside it, and
//          moves both for all moves of its group; elements where the vectors are not at multiples of 16 bytes. A move goes from a slot to another within the same
//          vector, so threads never meet and there is no barrier. Within a thread CHUNK moves are read before the first of them is written, ascending: a
//          destination may be the source of a move before it, so positions can close up in place.
//
// Limits   128 layers in a launch.
//
// Cost     Memory bound: 8 * moves * layers * kv_heads * head_dim bytes. A move to its own slot costs nothing.

#include "kf/kf.cuh"

constexpr int THREADS = 128, LAYERS = 128;  // CudaOperators.Realign.cs uses the same numbers
constexpr int CHUNK = 4;                    // moves that a thread reads before it writes

struct KvMove {  // mirrored by KvMove in C#
    int source, destination;
};

struct RealignArgs {  // mirrored by RealignArgs in C#
    uint16_t* layers[LAYERS];
    const KvMove* moves;
    const int* groups;
    int kv_heads, head_dim, block_size;
    int padding;
};

// Makes a group's moves for one unit of a slot's keys, and of its values: 16 bytes or one element. Units are counted over all heads, units_per_row for each.
template <class Unit> KF_INLINE void move_unit(Unit* layer, int unit, int units_per_row, int start, int end, const RealignArgs& args) {
    uint32_t block_size = args.block_size, units_per_side = args.kv_heads * block_size * units_per_row;
    Unit* keys = layer + unit / units_per_row * block_size * units_per_row + unit % units_per_row;
    auto at = [&](uint32_t slot) { return keys + (size_t)(slot / block_size) * 2 * units_per_side + slot % block_size * units_per_row; };

    for (int first = start; first < end; first += CHUNK) {
        KvMove moves[CHUNK];
#pragma unroll
        for (int i = 0; i < CHUNK; i++) moves[i] = first + i < end ? args.moves[first + i] : KvMove{0, 0};
        Unit of_keys[CHUNK], of_values[CHUNK];
        Unit* destinations[CHUNK];
#pragma unroll
        for (int i = 0; i < CHUNK; i++) {
            destinations[i] = moves[i].source == moves[i].destination ? nullptr : at(moves[i].destination);
            if (destinations[i] == nullptr) continue;
            of_keys[i] = at(moves[i].source)[0];
            of_values[i] = at(moves[i].source)[units_per_side];
        }
#pragma unroll
        for (int i = 0; i < CHUNK; i++) {
            if (destinations[i] == nullptr) continue;
            destinations[i][0] = of_keys[i];
            destinations[i][units_per_side] = of_values[i];
        }
    }
}

KF_INLINE void realign(const RealignArgs& args) {
    constexpr int PER_UNIT = PER_VECTOR<uint16_t>;
    int index = blockIdx.y * THREADS + threadIdx.x, start = args.groups[blockIdx.x], end = args.groups[blockIdx.x + 1];
    uint16_t* layer = args.layers[blockIdx.z];
    if (rows_are_aligned(layer, args.head_dim)) {
        int units_per_row = args.head_dim / PER_UNIT;
        if (index < args.kv_heads * units_per_row) move_unit(reinterpret_cast<int4*>(layer), index, units_per_row, start, end, args);
    } else {
        for (int unit = index; unit < args.kv_heads * args.head_dim; unit += gridDim.y * THREADS) move_unit(layer, unit, args.head_dim, start, end, args);
    }
}

extern "C" __global__ void __launch_bounds__(THREADS) realign_f16(const __grid_constant__ RealignArgs args) { realign(args); }
extern "C" __global__ void __launch_bounds__(THREADS) realign_bf16(const __grid_constant__ RealignArgs args) { realign(args); }
