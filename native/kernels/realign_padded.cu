// realign_padded.cu - the end of a speculative round of a rectangular batch: unpad, append, pad again.
//
// Why      Sequences of a padded batch gain unequally many tokens. Tokens, positions, mask, keys and values have to come back to one length together, or positions and
//          masks drift from the content. EQSPEC, arXiv:2510.22876.
//
// Math     L' = max over sequences of (content + gained). Left padding: content starts at column L - content before, at L' - content - gained after. Right padding: at
//          0, and the verified keys and values go from column L - 1 to content - 1. positions = max(0, content columns up to here - 1).
//
// Shapes   before, after  [2 * layers] pointers: keys, values of each layer, [sequences][heads][capacity][head_dim]   T; may be the same
//          tokens         [sequences][capacity]; positions, mask the same, after only
//          contents, length, counts  [sequences], [1], [sequences];  gained [sequences][most]
//
// Tiling   grid = (sequences * heads, 2, layers + 1). A block moves a strip, the keys or values of a head of a sequence: chunks of 8 vectors for each of 256 threads are
//          read whole before they are written, in ascending order where the strip moves down, descending where it moves up. So it may happen in place. The
//          blocks of the last layer + 1, one for a sequence, take the tokens. Lengths change in a launch of one block that follows, when all have read them.
//
// Limits   64 layers in a launch; a strip of less than 2^31 elements.
//
// Cost     Memory bound: 8 * layers * heads * head_dim * (content + gained - 1) bytes a sequence that moves, none for one that stays in its columns.

#include "kf/kf.cuh"

constexpr int THREADS = 256, LAYERS = 64;  // CudaOperators.RealignPadded.cs uses the same numbers
constexpr int CHUNK = 8;                   // vectors that a thread reads before it writes

struct RealignPaddedArgs {  // mirrored by RealignPaddedArgs in C#
    const uint16_t* before[2 * LAYERS];
    uint16_t* after[2 * LAYERS];
    const int* tokens;
    const int* contents;
    const int* length;
    const int* gained;
    const int* counts;
    int* tokens_after;
    int* positions_after;
    int* mask_after;
    int* contents_after;
    int* length_after;
    int layers, sequences, heads, head_dim;
    int capacity, capacity_after, most_gained;
    int pads_right, pad_token;
    int padding;
};

// The common length afterwards, by each warp for itself.
KF_INLINE int common_length(const RealignPaddedArgs& args) {
    int longest = 0;
    for (int i = lane_id(); i < args.sequences; i += WARP) longest = max(longest, args.contents[i] + args.counts[i]);
    return reduce_lanes<WARP>(longest, [](int a, int b) { return max(a, b); });
}

// Moves units within or between rows; the two ranges may overlap. Called by all threads of a block.
template <class Unit> KF_INLINE void move_units(Unit* destination, const Unit* source, int count) {
    if (destination == source) return;
    int chunks = ceil_div(count, THREADS * CHUNK);
    for (int i = 0; i < chunks; i++) {
        int chunk = destination < source ? i : chunks - 1 - i, first = chunk * THREADS * CHUNK + threadIdx.x;
        Unit units[CHUNK];
#pragma unroll
        for (int j = 0; j < CHUNK; j++)
            if (first + j * THREADS < count) units[j] = source[first + j * THREADS];
        __syncthreads();  // the chunk is read: what it held may be written, by this chunk, those that follow, or who comes after the last
#pragma unroll
        for (int j = 0; j < CHUNK; j++)
            if (first + j * THREADS < count) destination[first + j * THREADS] = units[j];
    }
}

// Sets units to zero.
template <class Unit> KF_INLINE void clear_units(Unit* destination, int count) {
    for (int i = threadIdx.x; i < count; i += THREADS) destination[i] = Unit{};
}

// Keys or values of a head of a sequence: what was verified goes to its columns, what became padding is zero. A column has units_per_row units.
template <class Unit> KF_INLINE void realign_strip(Unit* after, const Unit* before, int units_per_row, int sequence, const RealignPaddedArgs& args) {
    int content = args.contents[sequence], gained = args.counts[sequence], length = *args.length, length_after = common_length(args);
    bool in_place = after == before;
    int source, destination, count, clear_start, clear_end;
    if (args.pads_right) {
        source = length - 1, destination = content - 1, count = gained;
        clear_start = max(content + gained - 1, in_place ? length - 1 : 0), clear_end = length_after - 1;
        move_units(after, before, (content - 1) * units_per_row);
    } else {
        source = length - content, destination = length_after - content - gained, count = content + gained - 1;
        clear_start = in_place ? min(source, destination) : 0, clear_end = destination;
    }
    move_units(after + (size_t)destination * units_per_row, before + (size_t)source * units_per_row, count * units_per_row);
    clear_units(after + (size_t)clear_start * units_per_row, (clear_end - clear_start) * units_per_row);
}

// Tokens, positions and mask of a sequence, in all columns.
KF_INLINE void realign_tokens(int sequence, const RealignPaddedArgs& args) {
    int content = args.contents[sequence], gained = args.counts[sequence], length = *args.length, length_after = common_length(args);
    int start = args.pads_right ? 0 : length_after - content - gained;
    const int* tokens = args.tokens + (size_t)sequence * args.capacity + (args.pads_right ? 0 : length - content);
    size_t row = (size_t)sequence * args.capacity_after;
    move_units(args.tokens_after + row + start, tokens, content);
    for (int column = threadIdx.x; column < args.capacity_after; column += THREADS) {
        int index = column - start;
        bool is_content = index >= 0 && index < content + gained;
        if (!is_content) args.tokens_after[row + column] = args.pad_token;
        else if (index >= content) args.tokens_after[row + column] = args.gained[(size_t)sequence * args.most_gained + index - content];
        args.mask_after[row + column] = is_content;
        args.positions_after[row + column] = max(0, min(index, content + gained - 1));
    }
}

KF_INLINE void realign_padded(const RealignPaddedArgs& args) {
    if (blockIdx.z == args.layers) {
        if (blockIdx.y == 0 && blockIdx.x < args.sequences) realign_tokens(blockIdx.x, args);
        return;
    }
    int matrix = 2 * blockIdx.z + blockIdx.y, sequence = blockIdx.x / args.heads;
    const uint16_t* before = args.before[matrix] + (size_t)blockIdx.x * args.capacity * args.head_dim;
    uint16_t* after = args.after[matrix] + (size_t)blockIdx.x * args.capacity_after * args.head_dim;
    if (rows_are_aligned(before, args.head_dim) && rows_are_aligned(after, args.head_dim)) {
        realign_strip(reinterpret_cast<int4*>(after), reinterpret_cast<const int4*>(before), args.head_dim / PER_VECTOR<uint16_t>, sequence, args);
    } else {
        realign_strip(after, before, args.head_dim, sequence, args);
    }
}

// The lengths afterwards, by one block.
KF_INLINE void realign_lengths(const RealignPaddedArgs& args) {
    int length_after = common_length(args);
    __syncthreads();  // every warp has read the lengths, which may be written in place
    for (int i = threadIdx.x; i < args.sequences; i += THREADS) args.contents_after[i] = args.contents[i] + args.counts[i];
    if (threadIdx.x == 0) *args.length_after = length_after;
}

extern "C" __global__ void __launch_bounds__(THREADS) realign_padded_f16(const __grid_constant__ RealignPaddedArgs args) { realign_padded(args); }
extern "C" __global__ void __launch_bounds__(THREADS) realign_padded_bf16(const __grid_constant__ RealignPaddedArgs args) { realign_padded(args); }
extern "C" __global__ void __launch_bounds__(THREADS) realign_padded_f16_lengths(const __grid_constant__ RealignPaddedArgs args) { realign_lengths(args); }
extern "C" __global__ void __launch_bounds__(THREADS) realign_padded_bf16_lengths(const __grid_constant__ RealignPaddedArgs args) { realign_lengths(args); }
