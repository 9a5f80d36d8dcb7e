// wide_items.cuh - what the kernels of wide items share: which rows and tiles a block has. See attention_items.cuh.
#pragma once

namespace kf {

template <class T> struct WideAttentionArgs {  // mirrored by WideAttentionArgs in C#
    AttentionItemArgs<T> plan;
    int dense_rows, dense_positions;  // without items: block x has the x-th run of rows over all dense_positions
};

// The block's item; without rows if there is none.
template <int ROWS, class T> KF_INLINE AttentionItem find_item(const WideAttentionArgs<T>& args) {
    if (args.plan.items) {
        int index = args.plan.item_range[0] + blockIdx.x;
        return index < args.plan.item_range[1] ? args.plan.items[index] : AttentionItem{};
    }
    int first_row = blockIdx.x * ROWS;
    return {first_row, min(ROWS, args.dense_rows - first_row), INT_MAX, 0, 0, args.dense_positions, 0, 0, NO_SLOT, NO_SLOT, NO_SLOT};
}

// The first tile to walk: those in front of all windows would change nothing.
template <class T> KF_INLINE int first_tile(const AttentionItemArgs<T>& args, const AttentionItem& item) {
    if (args.window == 0) return item.first;
    return max(item.first, (item.first_position - args.window + 1) / TILE * TILE);
}

// What the row on a side of a lane sees of the item's positions.
template <class T> KF_INLINE Visible visible_in(const AttentionItemArgs<T>& args, const AttentionItem& item, int warp_row, int side) {
    Visible visible = visible_of(args, min(plan_row(item, warp_row, side), item.first_row + item.rows - 1));
    return {visible.first, min(visible.last, item.end - 1)};
}

}  // namespace kf
