// narrow_matmul.cu - products of up to 64 rows, with dense weights or those of 4 or 8 bits.
//
// Why      With few rows a product is bound by the bandwidth of the weights: they are read once, by as many blocks as fill the GPU, through rings of copies deep
//          enough to keep the memory busy. The tensor cores have the outputs on M and the rows on N, so 16 rows waste nothing. MARLIN, arXiv:2408.11743, with
//          scales on the sums instead of the weights, and an order of sums that the number of rows does not change.
//
// Math     That of matmul.cu and matmul_packed.cu, to the bit.
//
// Shapes   x        [rows <= ROWS, k]    T, rows x_stride apart
//          weights  [columns, k]         T, rows stride apart, or packed
//          result   [rows, columns]      T or float; [rows, columns / 2] of gated weights
//
// Tiling   A block has 128 columns and one lane of k: grid = (ceil(columns / 128), lanes). Each of its 4 warps has 32 columns on M and all rows on N.
//          Weights and x arrive by cp.async in a ring of stages of 128 k, 64 of dense weights:
//
//                         128 k ->                               128 k ->
//          stage  weights +--------+ 32 warp 0 (2 operands A)   x +--------+ ROWS, read by all warps
//                         +--------+ 32 warp 1                    +--------+
//                         +--------+ 32 warp 2            scales  [groups that lie in the stage][128]
//                         +--------+ 32 warp 3            zeros   the same
//
//          Packed codes are operands A as they lie: a lane reads 16 bytes of them and widens 8 weights with 9 to 11 instructions. The operands of the next
//          k16 step are made before the products of this one. Where k has several lanes the last block of a tile adds them: kf/lane_sums.cuh.
//
// Limits   rows <= ROWS; rows of x and of dense weights at multiples of 16 bytes.
//
// Cost     Reads the weights once, and x once per 128 columns; 4 * ROWS * 128 bytes of sums per tile and lane, written and read, where there are several.

#include "kf/kf.cuh"

constexpr int WARPS = 4;  // CudaOperators.NarrowMatMul.cs uses the same numbers
constexpr int THREADS = WARPS * WARP;
constexpr int COLUMNS = PACKED_TILE;              // of a block
constexpr int SIDES = COLUMNS / WARPS / 16;       // operands A of a warp: 16 columns each
constexpr int DENSE = 16;                         // bits of weights that are T
constexpr int SPARE = 4;                          // floats behind each row of totals, so that lanes fall into different banks

// Stages of the ring: two blocks of a multiprocessor with 164 KB, one with 100 KB.
template <int BITS, int ROWS> constexpr int STAGES = BITS == 4 ? (ROWS == 16 ? 6 : ROWS == 32 ? 4 : 3)
                                                   : BITS == 8 ? (ROWS == 16 ? 4 : ROWS == 32 ? 3 : 2)
                                                               : (ROWS == 64 ? 3 : 4);

template <class T, class WEIGHTS> struct NarrowMatMulArgs {  // mirrored by NarrowMatMulArgs in C#
    const T* x;
    WEIGHTS weights;
    Epilogue<T, T> epilogue;  // of a float result Epilogue<T, float>: the same fields
    LaneSums sums;
    int x_stride;
    int result_is_float;
};

template <int ROWS> using Sums = float[SIDES][ROWS / 8][4];

// Operands of one k16 step.
template <int ROWS> struct Operands {
    uint32_t weights[SIDES][4];
    uint32_t x[ROWS / 16][4];
};

template <int ROWS> KF_INLINE void clear(Sums<ROWS>& sums) {
#pragma unroll
    for (int side = 0; side < SIDES; side++) {
#pragma unroll
        for (int n = 0; n < ROWS / 8; n++) {
#pragma unroll
            for (int i = 0; i < 4; i++) sums[side][n][i] = 0.0f;
        }
    }
}

// Ends a group: adds it to the totals, and the next one starts from 0.
template <int ROWS> KF_INLINE void fold_group(Sums<ROWS>& totals, Sums<ROWS>& sums, const float (&scales)[SIDES][2]) {
#pragma unroll
    for (int side = 0; side < SIDES; side++) {
#pragma unroll
        for (int n = 0; n < ROWS / 8; n++) {
#pragma unroll
            for (int i = 0; i < 4; i++) totals[side][n][i] = __fmaf_rn(scales[side][i / 2], sums[side][n][i], totals[side][n][i]);
        }
    }
    clear<ROWS>(sums);
}

// Adds the products of COUNT k16 steps of a stage, from FIRST on. load(weights, step) makes the warp's operands A.
template <int ROWS, int STEP, int FIRST, int COUNT, class T, class LOAD> KF_INLINE void multiply_steps(Sums<ROWS>& sums, const T* x, LOAD load) {
    Operands<ROWS> operands[2];
    auto load_step = [&](int step) {
        load(operands[step % 2].weights, step);
#pragma unroll
        for (int pair = 0; pair < ROWS / 16; pair++) load_b<STEP>(operands[step % 2].x[pair], x, pair * 16, step);
    };

    load_step(FIRST);
#pragma unroll
    for (int step = FIRST; step < FIRST + COUNT; step++) {
        if (step + 1 < FIRST + COUNT) load_step(step + 1);
        const Operands<ROWS>& now = operands[step % 2];
#pragma unroll
        for (int n = 0; n < ROWS / 8; n++) {
#pragma unroll
            for (int side = 0; side < SIDES; side++) mma_m16n8k16<T>(sums[side][n], now.weights[side], now.x[n / 2][n % 2 * 2], now.x[n / 2][n % 2 * 2 + 1]);
        }
    }
}

// What a thread copies of ROWS rows of a matrix, STEP k at a time, into tiles: one vector of every few rows; zeros behind k. Rows that the matrix has not are
// cleared once.
template <int ROWS, int STEP, class T> struct RowCopies {
    static constexpr int VECTORS = STEP / 8, ROWS_AT_ONCE = THREADS / VECTORS;
    static_assert(ROWS_AT_ONCE % 8 == 0);  // so a thread's vectors lie at one place in their rows, in any order of tile.cuh

    const T* source;  // the vector of the next step
    int left;         // elements from there to the end of k
    int rows;         // from the thread's first one to the last
    int stride;
    int offset;  // of the first vector in a tile

    KF_INLINE RowCopies(const T* matrix, int stride, int rows, int k, int first_k) : stride(stride) {
        int vector = threadIdx.x % VECTORS, first = threadIdx.x / VECTORS;
        source = matrix + (size_t)first * stride + first_k + vector * 8;
        left = k - first_k - vector * 8;
        this->rows = rows - first;
        offset = tile_offset<STEP>(first, vector);
    }

    KF_INLINE void clear(T* tile) const {
#pragma unroll
        for (int i = 0; i < ROWS; i += ROWS_AT_ONCE) {
            if (i >= rows) store_16(tile + offset + i * STEP, Vector<T>{});
        }
    }

    // Starts the copies of the next step; copy(target, source, bytes...) makes one of 16 bytes, or of fewer with zeros behind them.
    template <class COPY> KF_INLINE void load(T* tile, COPY copy) {
        uint32_t target = shared_address(tile + offset);
        if (left >= 8) {
#pragma unroll
            for (int i = 0; i < ROWS; i += ROWS_AT_ONCE) {
                if (i < rows) copy(target + i * STEP * (int)sizeof(T), source + (ptrdiff_t)i * stride);
            }
        } else {
#pragma unroll 1
            for (int i = 0; i < ROWS; i += ROWS_AT_ONCE) {
                if (i < rows) copy(target + i * STEP * (int)sizeof(T), source + (ptrdiff_t)i * stride, max(left, 0) * (int)sizeof(T));  // of 0 bytes none is read
            }
        }
        source += STEP;
        left -= STEP;
    }
};

// A tile of packed weights: how it gets into stages, one after the other, and from there into operands A.
template <class T, int BITS> struct PackedTile {
    static constexpr int STEP = PACKED_TILE;  // k of a stage

    const PackedWeights& weights;
    uint64_t policy = evict_first_policy();
    const uint4* codes;    // the thread's first vector of the next stage
    const float* scales;   // of the next stage
    const uint8_t* zeros;  // the same, or null
    int groups;            // that end in a stage
    uint32_t offsets[SIDES][2];  // of the zero points of a group

    KF_INLINE PackedTile(const PackedWeights& weights, int tile, int first_k) : weights(weights) {
        int block = first_k / STEP;
        groups = weights.group_size == 0 ? 0 : STEP / weights.group_size;
        size_t first = scale_index(weights, tile, block * groups);
        codes = block_codes<BITS>(weights, tile, block) + threadIdx.x;
        scales = weights.scales + first;
        zeros = weights.zeros ? weights.zeros + first : nullptr;
        set_offsets(groups == 0 ? zeros : nullptr);
    }

    // Bytes of a stage besides x.
    KF_INLINE int stage_bytes() const { return PACKED_BLOCK_BYTES<BITS> + groups * COLUMNS * (sizeof(float) + (zeros ? 1 : 0)); }

    // A stage before it is filled for the first time: weights are padded to whole tiles.
    KF_INLINE void clear(char*) const {}

    // Starts the copy of the next block of 128 k into a stage.
    KF_INLINE void load(char* stage) {
        constexpr int PER_THREAD = PACKED_BLOCK_BYTES<BITS> / 16 / THREADS;
        uint32_t target = shared_address(stage) + threadIdx.x * 16;
#pragma unroll
        for (int i = 0; i < PER_THREAD; i++) cp_async_16_evict_first(target + i * THREADS * 16, codes + i * THREADS, policy);
        codes += PER_THREAD * THREADS;
        if (groups == 0) return;

        int vectors = groups * COLUMNS / PER_VECTOR<float>;  // of scales: at most one for each thread
        target += PACKED_BLOCK_BYTES<BITS>;
        if (threadIdx.x < vectors) cp_async_16_evict_first(target, scales + threadIdx.x * 4, policy);
        scales += groups * COLUMNS;
        if (!zeros) return;
        if (threadIdx.x < vectors / 4) cp_async_16_evict_first(target + vectors * 16, zeros + threadIdx.x * 16, policy);
        zeros += groups * COLUMNS;
    }

    // Adds a stage: to the sums, and groups that end in it to the totals.
    template <int ROWS> KF_INLINE void multiply(Sums<ROWS>& totals, Sums<ROWS>& sums, const char* stage, const T* x) {
        if (groups <= 1) {
            if (groups == 1) start_group(stage, 0);
            multiply_steps<ROWS, STEP, 0, 8>(sums, x, loader(stage));
            if (groups == 1) end_group<ROWS>(totals, sums, scales_of(stage, 0));
        } else {
            multiply_run<ROWS, 0>(totals, sums, stage, x);
            multiply_run<ROWS, 2>(totals, sums, stage, x);
            multiply_run<ROWS, 4>(totals, sums, stage, x);
            multiply_run<ROWS, 6>(totals, sums, stage, x);
        }
    }

    // Ends a lane: the one group of each column is multiplied by its scale.
    template <int ROWS> KF_INLINE void end_lane(Sums<ROWS>& totals, Sums<ROWS>& sums) const {
        if (groups == 0) end_group<ROWS>(totals, sums, scales);
    }

  private:
    // The columns of a lane: two for each operand A.
    static KF_INLINE int column(int i) { return warp_id() * SIDES * 16 + i * 8 + lane_id() / 4; }

    // A run of 32 k, which is a group or half of one.
    template <int ROWS, int FIRST> KF_INLINE void multiply_run(Sums<ROWS>& totals, Sums<ROWS>& sums, const char* stage, const T* x) {
        int group = FIRST * groups / 8;
        if (FIRST * groups % 8 == 0) start_group(stage, group);
        multiply_steps<ROWS, STEP, FIRST, 2>(sums, x, loader(stage));
        if ((FIRST + 2) * groups % 8 == 0) end_group<ROWS>(totals, sums, scales_of(stage, group));
    }

    // Makes operands A of a step from the codes of a stage, of which it keeps the vectors in use.
    KF_INLINE auto loader(const char* stage) const {
        const uint4* codes = reinterpret_cast<const uint4*>(stage) + warp_id() * SIDES * PACKED_VECTORS<BITS> * WARP + lane_id();
        return [this, codes, vectors = Vectors()](uint32_t (&a)[SIDES][4], int step) mutable {
#pragma unroll
            for (int side = 0; side < SIDES; side++) {
                uint4& vector = vectors.of_side[side];
                if (step % PACKED_STEPS<BITS> == 0 || !vectors.is_loaded) vector = codes[(side * PACKED_VECTORS<BITS> + step / PACKED_STEPS<BITS>) * WARP];
                dequantize<T, BITS>(a[side], vector, step % PACKED_STEPS<BITS>, offsets[side]);
            }
            vectors.is_loaded = true;
        };
    }

    struct Vectors {
        uint4 of_side[SIDES];
        bool is_loaded = false;
    };

    // The zero points and scales of a stage's groups.
    KF_INLINE void start_group(const char* stage, int group) {
        if (zeros) set_offsets(reinterpret_cast<const uint8_t*>(stage) + PACKED_BLOCK_BYTES<BITS> + (groups * sizeof(float) + group) * COLUMNS);
    }

    static KF_INLINE const float* scales_of(const char* stage, int group) {
        return reinterpret_cast<const float*>(stage + PACKED_BLOCK_BYTES<BITS>) + group * COLUMNS;
    }

    template <int ROWS> static KF_INLINE void end_group(Sums<ROWS>& totals, Sums<ROWS>& sums, const float* of_group) {
        float scales[SIDES][2];
#pragma unroll
        for (int i = 0; i < 2 * SIDES; i++) scales[i / 2][i % 2] = of_group[column(i)];
        fold_group<ROWS>(totals, sums, scales);
    }

    // From the zero points of a group's 128 columns, or from the middle of the codes.
    KF_INLINE void set_offsets(const uint8_t* zeros) {
#pragma unroll
        for (int i = 0; i < 2 * SIDES; i++) offsets[i / 2][i % 2] = zero_offset<T, BITS>(zeros ? zeros[column(i)] : 1 << (BITS - 1), i % 2);
    }
};

// A tile of dense weights.
template <class T> struct DenseTile {
    static constexpr int STEP = 64;  // k of a stage

    uint64_t policy = evict_first_policy();
    RowCopies<COLUMNS, STEP, T> copies;

    KF_INLINE DenseTile(const DenseWeights<T>& weights, int tile, int first_k)
        : copies(weights.rows + (size_t)tile * COLUMNS * weights.stride, weights.stride, weights.columns - tile * COLUMNS, weights.k, first_k) {}

    KF_INLINE int stage_bytes() const { return COLUMNS * STEP * sizeof(T); }

    KF_INLINE void clear(char* stage) const { copies.clear(reinterpret_cast<T*>(stage)); }

    KF_INLINE void load(char* stage) {
        copies.load(reinterpret_cast<T*>(stage), [this](uint32_t target, const T* source, auto... bytes) { cp_async_16_evict_first(target, source, policy, bytes...); });
    }

    template <int ROWS> KF_INLINE void multiply(Sums<ROWS>& totals, Sums<ROWS>&, const char* stage, const T* x) const {
        const T* rows = reinterpret_cast<const T*>(stage);
        multiply_steps<ROWS, STEP, 0, STEP / 16>(totals, x, [rows](uint32_t (&a)[SIDES][4], int step) {
#pragma unroll
            for (int side = 0; side < SIDES; side++) load_a<STEP>(a[side], rows, (warp_id() * SIDES + side) * 16, step);
        });
    }

    template <int ROWS> KF_INLINE void end_lane(Sums<ROWS>&, Sums<ROWS>&) const {}
};

// Sums k from first_k to end_k.
template <int ROWS, int RING, class T, class TILE, class ARGS> KF_INLINE void walk(Sums<ROWS>& totals, TILE& tile, char* ring, const ARGS& args, int first_k, int end_k) {
    constexpr int STEP = TILE::STEP, X_BYTES = ROWS * STEP * sizeof(T);
    RowCopies<ROWS, STEP, T> x(args.x, args.x_stride, args.epilogue.rows, args.weights.k, first_k);
    int stages = ceil_div(end_k - first_k, STEP), stage_bytes = X_BYTES + tile.stage_bytes();
    int ring_bytes = RING * stage_bytes;
    auto next = [&](int place) { return place + stage_bytes == ring_bytes ? 0 : place + stage_bytes; };
    Sums<ROWS> sums;
    clear<ROWS>(sums);
#pragma unroll 1
    for (int place = 0; place < ring_bytes; place += stage_bytes) {
        x.clear(reinterpret_cast<T*>(ring + place));
        tile.clear(ring + place + X_BYTES);
    }

#pragma unroll 1
    for (int stage = 1 - RING, filled = 0, used = 0; stage < stages; stage++) {
        if (stage >= 0) {
            cp_async_wait<RING - 2>();
            __syncthreads();  // every thread's part of the stage is there, and every warp has read the one before, whose place is filled next
        }
        if (stage + RING - 1 < stages) {
            x.load(reinterpret_cast<T*>(ring + filled), [](auto... copy) { cp_async_16(copy...); });
            tile.load(ring + filled + X_BYTES);
            filled = next(filled);
        }
        cp_async_commit();
        if (stage < 0) continue;
        tile.template multiply<ROWS>(totals, sums, ring + used + X_BYTES, reinterpret_cast<const T*>(ring + used));
        used = next(used);
    }
    tile.template end_lane<ROWS>(totals, sums);
}

// Puts the totals into rows of columns, so that neighbours can be written together; adding them to 0 is what adding the first lane is.
template <int ROWS> KF_INLINE void spread(float* rows, const Sums<ROWS>& totals) {
#pragma unroll
    for (int side = 0; side < SIDES; side++) {
#pragma unroll
        for (int n = 0; n < ROWS / 8; n++) {
#pragma unroll
            for (int i = 0; i < 4; i++) {
                int row = n * 8 + lane_id() % 4 * 2 + i % 2, column = (warp_id() * SIDES + side) * 16 + i / 2 * 8 + lane_id() / 4;
                rows[row * (COLUMNS + SPARE) + column] = __fadd_rn(0.0f, totals[side][n][i]);
            }
        }
    }
}

// Writes the block's part of the result, 8 neighbours of a row at a time.
template <class T, class R> KF_INLINE void write_vectors(const Epilogue<T, R>& epilogue, const float* rows) {
    int vectors = COLUMNS / 8 / (epilogue.gated ? 2 : 1);
    for (int i = threadIdx.x; i < epilogue.rows * vectors; i += THREADS) {
        int row = i / vectors, vector = i % vectors, column = (blockIdx.x * vectors + vector) * 8;
        if (column >= epilogue.columns) continue;
        const float* totals = rows + row * (COLUMNS + SPARE) + vector * (epilogue.gated ? 16 : 8);
        float first[8], ups[8];
#pragma unroll
        for (int j = 0; j < 8; j++) {
            first[j] = totals[j];
            ups[j] = epilogue.gated ? totals[8 + j] : 0.0f;
        }
        finish_row(epilogue, row, column, first, ups);
    }
}

// The same element by element.
template <class T, class R> KF_INLINE void write_elements(const Epilogue<T, R>& epilogue, const float* rows) {
    int columns = epilogue.gated ? COLUMNS / 2 : COLUMNS;
    for (int i = threadIdx.x; i < epilogue.rows * columns; i += THREADS) {
        int row = i / columns, place = i % columns, column = blockIdx.x * columns + place;
        if (column >= epilogue.columns) continue;
        const float* totals = rows + row * (COLUMNS + SPARE);
        if (epilogue.gated) finish_gated(epilogue, row, column, totals[place / 8 * 16 + place % 8], totals[place / 8 * 16 + 8 + place % 8]);
        else finish(epilogue, row, column, totals[place]);
    }
}

template <class T, class R> KF_INLINE void write_result(const Epilogue<T, R>& epilogue, const float* rows) {
    if (takes_vectors(epilogue)) write_vectors(epilogue, rows);
    else write_elements(epilogue, rows);
}

template <int ROWS, int RING, class TILE, class T, class WEIGHTS> KF_INLINE void narrow_matmul(const NarrowMatMulArgs<T, WEIGHTS>& args) {
    extern __shared__ int4 memory[];
    int first_k = blockIdx.y * args.weights.lane_length, end_k = min(args.weights.k, first_k + args.weights.lane_length);
    TILE tile(args.weights, blockIdx.x, first_k);
    Sums<ROWS> totals;
    clear<ROWS>(totals);
    walk<ROWS, RING, T>(totals, tile, reinterpret_cast<char*>(memory), args, first_k, end_k);
    if (gridDim.y > 1 && !add_lanes<THREADS>(totals, args.sums, blockIdx.x, blockIdx.y, gridDim.y, ceil_div(args.epilogue.rows, 8))) return;

    float* rows = reinterpret_cast<float*>(memory);
    __syncthreads();  // every warp has read the ring: it may hold totals
    spread<ROWS>(rows, totals);
    __syncthreads();  // all totals are there
    if (args.result_is_float) write_result(reinterpret_cast<const Epilogue<T, float>&>(args.epilogue), rows);
    else write_result(args.epilogue, rows);
}

#define KF_PACKED(type, name, bits, rows)                                                                                                 \
    extern "C" __global__ void __launch_bounds__(THREADS, 2)                                                                              \
        narrow_matmul_##name##_w##bits##_##rows(const __grid_constant__ NarrowMatMulArgs<type, PackedWeights> args) {                     \
        narrow_matmul<rows, STAGES<bits, rows>, PackedTile<type, bits>>(args);                                                            \
    }

#define KF_DENSE(type, name, rows)                                                                                                        \
    extern "C" __global__ void __launch_bounds__(THREADS, 2)                                                                              \
        narrow_matmul_##name##_dense_##rows(const __grid_constant__ NarrowMatMulArgs<type, DenseWeights<type>> args) {                    \
        narrow_matmul<rows, STAGES<DENSE, rows>, DenseTile<type>>(args);                                                                  \
    }

#define KF_ENTRIES(type, name, rows) \
    KF_PACKED(type, name, 4, rows)   \
    KF_PACKED(type, name, 8, rows)   \
    KF_DENSE(type, name, rows)

KF_ENTRIES(half, f16, 16)
KF_ENTRIES(half, f16, 32)
KF_ENTRIES(half, f16, 64)
KF_ENTRIES(bf16, bf16, 16)
KF_ENTRIES(bf16, bf16, 32)
KF_ENTRIES(bf16, bf16, 64)
