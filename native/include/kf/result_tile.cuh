// result_tile.cuh - totals of a product's tile on their way from the registers of tensor cores through shared memory to the result, so that whole 16-byte
// vectors of residual and result are read and written where their rows are aligned. What is computed is what kf/epilogue.cuh says, element by element.
#pragma once

namespace kf {

// Which tile of the result a block of a wide product computes.
struct TileNumbers {
    int outputs, rows;
};

// Tiles in the order of blocks: 8 tiles of rows for one tile of outputs, then for the next. So the blocks that run at one time read few bytes of each operand.
KF_INLINE TileNumbers find_tile(int output_tiles, int row_tiles) {
    constexpr int BAND = 8;
    int band = (int)blockIdx.x / (BAND * output_tiles), in_band = (int)blockIdx.x % (BAND * output_tiles);
    int rows_of_band = min(BAND, row_tiles - band * BAND);
    return {in_band / rows_of_band, band * BAND + in_band % rows_of_band};
}

// Totals of ROWS rows by OUTPUTS outputs, which are those of the product before gating. A row is longer by 16 bytes: the lanes of a warp write fragments to 32 banks.
template <int ROWS, int OUTPUTS> struct ResultTile {
    float totals[ROWS][OUTPUTS + 4];

    // Puts the sums of 16 outputs here: sum[4 j + i] is element i of mma_m16n8k16 for the rows row + 8 j ..; outputs are on M.
    template <int SUMS> KF_INLINE void put(const float (&sum)[SUMS], int row, int output) {
        int first_row = row + lane_id() % 4 * 2, first_output = output + lane_id() / 4;
#pragma unroll
        for (int i = 0; i < SUMS; i++) totals[first_row + i / 4 * 8 + i % 2][first_output + i / 2 % 2 * 8] = sum[i];
    }

    // Output of a column of the result; of gated weights the gate's, 8 outputs in front of the up projection's.
    KF_INLINE static int output_of(int column, bool gated) { return gated ? column / 8 * 16 + column % 8 : column; }

    // An element of the result but for the residual; row and column_here are those of the tile.
    template <class T, class R> KF_INLINE R element(const Epilogue<T, R>& epilogue, int row, int column_here, int column) const {
        const float* total = &totals[row][output_of(column_here, epilogue.gated)];
        return product(epilogue, column, total[0], epilogue.gated ? total[8] : 0.0f);
    }

    // Writes the tile whose first element is that of first_row and first_output, by THREADS threads of which this is the thread-th; what lies outside of the
    // result is left out.
    template <int THREADS, class T, class R> KF_INLINE void write(const Epilogue<T, R>& epilogue, int first_row, int first_output, int thread) const {
        constexpr int PER = PER_VECTOR<R>;
        int first_column = epilogue.gated ? first_output / 2 : first_output, vectors = (epilogue.gated ? OUTPUTS / 2 : OUTPUTS) / PER;
        bool result_is_aligned = rows_are_aligned(epilogue.result, epilogue.result_stride);
        bool residual_is_aligned = rows_are_aligned(epilogue.residual, epilogue.residual_stride);
        for (int i = thread; i < ROWS * vectors; i += THREADS) {
            int row_here = i / vectors, column_here = i % vectors * PER, row = first_row + row_here, column = first_column + column_here;
            if (row >= epilogue.rows || column >= epilogue.columns) continue;
            Vector<R> value;
#pragma unroll
            for (int e = 0; e < PER; e++) value[e] = element(epilogue, row_here, column_here + e, min(column + e, epilogue.columns - 1));
            if (epilogue.residual) {
                Vector<R> residual = load_elements(epilogue.residual + (size_t)row * epilogue.residual_stride, column, epilogue.columns, residual_is_aligned);
#pragma unroll
                for (int e = 0; e < PER; e++) value[e] = from_float<R>(__fadd_rn(to_float(value[e]), to_float(residual[e])));
            }
            store_elements(epilogue.result + (size_t)row * epilogue.result_stride, column, epilogue.columns, result_is_aligned, value);
        }
    }
};

}  // namespace kf
