// tile.cuh - tiles of 16-bit elements in shared memory, and how the tensor cores' operands are read from them.
//
// A tile has COLUMNS elements in a row, a multiple of 32. Of every 8 16-byte vectors of row r, vector v is stored at v ^ (r % 8). Where COLUMNS is no
// multiple of 64 every other row starts in the middle of the banks; there, of every 4, at v ^ (r / 2 % 4). Either way eight rows at one column, which is
// what ldmatrix reads at once, lie in eight different groups of banks.
#pragma once

namespace kf {

// Element of a tile at which a vector of a row starts.
template <int COLUMNS> KF_INLINE int tile_offset(int row, int vector) {
    static_assert(COLUMNS % 32 == 0);
    constexpr int GROUP = COLUMNS % 64 == 0 ? 8 : 4;  // vectors that change places
    int order = GROUP == 8 ? row % 8 : row / 2 % 4;
    return row * COLUMNS + (vector / GROUP * GROUP + (vector % GROUP ^ order)) * 8;
}

// Starts a copy of the first count elements at source (none if count <= 0, at most 8) into a vector of a tile, zeros behind them.
// Sources that are not at a multiple of 16 bytes are read element by element, at once. Complete after cp_async_wait and a barrier.
template <class T> KF_INLINE void copy_vector(T* vector, const T* source, int count, bool source_is_aligned) {
    static_assert(is_16_bit<T>);
    if (source_is_aligned) {
        cp_async_16(shared_address(vector), source, max(0, min(count, 8)) * 2);
    } else {
        Vector<T> elements;
#pragma unroll
        for (int i = 0; i < 8; i++) elements[i] = i < count ? source[i] : from_float<T>(0.0f);
        store_16(vector, elements);
    }
}

// Operand A of mma_m16n8k16: rows row .. row + 15, columns 16 * step .. + 15 of a tile.
template <int COLUMNS, class T> KF_INLINE void load_a(uint32_t (&a)[4], const T* tile, int row, int step) {
    int lane = lane_id();
    ldmatrix_x4(a, shared_address(tile + tile_offset<COLUMNS>(row + lane % 16, 2 * step + lane / 16)));
}

// Two operands B whose n is the row of a tile: b[0], b[1] for the rows row .. row + 7, b[2], b[3] for the next 8; k is the column, as above.
template <int COLUMNS, class T> KF_INLINE void load_b(uint32_t (&b)[4], const T* tile, int row, int step) {
    int lane = lane_id();
    ldmatrix_x4(b, shared_address(tile + tile_offset<COLUMNS>(row + lane / 16 * 8 + lane % 8, 2 * step + lane / 8 % 2)));
}

// Two operands B whose k is the row of a tile, 16 rows from row on: b[0], b[1] for the columns 16 * pair .. + 7, b[2], b[3] for the next 8.
template <int COLUMNS, class T> KF_INLINE void load_b_transposed(uint32_t (&b)[4], const T* tile, int row, int pair) {
    int lane = lane_id();
    ldmatrix_x4_trans(b, shared_address(tile + tile_offset<COLUMNS>(row + lane % 16, 2 * pair + lane / 16)));
}

}  // namespace kf
