// bits.cpp - logic, shifts, bit fields, byte permutes, and moves between registers.
#include <bit>

#include "builder.h"
#include "numbers.h"

namespace kf {
namespace {

struct And { template <class T> static T apply(T a, T b) { return a & b; } };
struct Or { template <class T> static T apply(T a, T b) { return a | b; } };
struct Xor { template <class T> static T apply(T a, T b) { return a ^ b; } };
struct Not { template <class T> static T apply(T a) { return static_cast<T>(~a); } };
struct LogicalNot { template <class T> static T apply(T a) { return a == 0; } };

template <class Op> void logic(Warp& w, const Instruction& i) { w.set_predicate(i.d, Op::apply(w.predicate(i.a), w.predicate(i.b))); }
void logic_not(Warp& w, const Instruction& i) { w.set_predicate(i.d, ~w.predicate(i.a)); }
void move_predicate(Warp& w, const Instruction& i) { w.set_predicate(i.d, w.predicate(i.a)); }
void set_predicate_to(Warp& w, const Instruction& i) { w.set_predicate(i.d, i.immediate ? all_lanes : 0); }

template <class Op> Handler binary_bits(Type t) {
    switch (bits_of(t)) {
        case 1: return logic<Op>;
        case 16: return binary<Plain<uint16_t>, false, Op>;
        case 32: return binary<Plain<uint32_t>, false, Op>;
        case 64: return binary<Plain<uint64_t>, false, Op>;
        default: return nullptr;
    }
}

template <class Op> void decode_logic(Builder& b) {
    Type t = b.type();
    b.i.d = b.def(0, t);
    b.i.a = b.use(1, t);
    b.i.b = b.use(2, t);
    b.emit(binary_bits<Op>(t));
}

template <class Op> Handler unary_bits(Type t) {
    switch (bits_of(t)) {
        case 16: return unary<Plain<uint16_t>, false, Op>;
        case 32: return unary<Plain<uint32_t>, false, Op>;
        case 64: return unary<Plain<uint64_t>, false, Op>;
        default: return nullptr;
    }
}

template <class Op> void decode_not(Builder& b) {
    Type t = b.type();
    b.i.d = b.def(0, t);
    b.i.a = b.use(1, t);
    b.emit(t == Type::Pred ? logic_not : unary_bits<Op>(t));
}

// ---- shifts; amounts beyond the width give 0 or the sign

template <class T> void shift_left(Warp& w, const Instruction& i) {
    const T* a = w.in<T>(i.a);
    const uint32_t* n = w.in<uint32_t>(i.b);
    assign(w.active, w.out<T>(i.d), [=](int l) { return static_cast<T>(n[l] >= 8 * sizeof(T) ? T(0) : static_cast<T>(a[l] << (n[l] & (8 * sizeof(T) - 1)))); });
}

template <class T> void shift_right(Warp& w, const Instruction& i) {
    const T* a = w.in<T>(i.a);
    const uint32_t* n = w.in<uint32_t>(i.b);
    constexpr uint32_t width = 8 * sizeof(T);
    assign(w.active, w.out<T>(i.d), [=](int l) {
        if constexpr (std::is_signed_v<T>) return static_cast<T>(a[l] >> (n[l] < width ? n[l] : width - 1));
        else return static_cast<T>(n[l] >= width ? T(0) : static_cast<T>(a[l] >> (n[l] & (width - 1))));
    });
}

void decode_shift(Builder& b) {
    Type t = b.type();
    b.i.d = b.def(0, t);
    b.i.a = b.use(1, t);
    b.i.b = b.use(2, Type::U32);
    bool left = b.name() == "shl";
    switch (t) {
        case Type::B16: case Type::U16: return b.emit(left ? shift_left<uint16_t> : shift_right<uint16_t>);
        case Type::S16: return b.emit(shift_right<int16_t>);
        case Type::B32: case Type::U32: return b.emit(left ? shift_left<uint32_t> : shift_right<uint32_t>);
        case Type::S32: return b.emit(shift_right<int32_t>);
        case Type::B64: case Type::U64: return b.emit(left ? shift_left<uint64_t> : shift_right<uint64_t>);
        case Type::S64: return b.emit(shift_right<int64_t>);
        default: b.unknown();
    }
}

template <bool Left, bool Wrap> void funnel(Warp& w, const Instruction& i) {
    const auto *low = w.in<uint32_t>(i.a), *high = w.in<uint32_t>(i.b), *n = w.in<uint32_t>(i.c);
    assign(w.active, w.out<uint32_t>(i.d), [=](int l) {
        uint64_t both = static_cast<uint64_t>(high[l]) << 32 | low[l];
        uint32_t amount = Wrap ? n[l] & 31 : n[l] < 32 ? n[l] : 32;
        return static_cast<uint32_t>(Left ? both << amount >> 32 : both >> amount);
    });
}

void decode_funnel(Builder& b) {
    bool left = b.choose({"r", "l"}) == 1, wrap = b.choose({"clamp", "wrap"}) == 1;
    Type t = b.type();
    b.i.d = b.def(0, t);
    b.i.a = b.use(1, t);
    b.i.b = b.use(2, t);
    b.i.c = b.use(3, Type::U32);
    b.emit(left ? (wrap ? funnel<true, true> : funnel<true, false>) : (wrap ? funnel<false, true> : funnel<false, false>));
}

// ---- fields

template <class T> void extract_field(Warp& w, const Instruction& i) {
    using U = std::make_unsigned_t<T>;
    constexpr uint32_t width = 8 * sizeof(T);
    const T* a = w.in<T>(i.a);
    const auto *start = w.in<uint32_t>(i.b), *length = w.in<uint32_t>(i.c);
    assign(w.active, w.out<T>(i.d), [=](int l) {
        uint32_t s = start[l] & 255, n = length[l] & 255;
        U field = s < width ? static_cast<U>(a[l]) >> s : 0;
        if (n < width) field &= (U(1) << n) - 1;
        if constexpr (std::is_signed_v<T>) {
            uint32_t top = n == 0 ? width : std::min(s + n - 1, width - 1);
            bool sign = n != 0 && (static_cast<U>(a[l]) >> top & 1);
            uint32_t filled = s >= width ? 0 : std::min(n, width - s);
            if (sign && filled < width) field |= ~U(0) << filled;
        }
        return static_cast<T>(field);
    });
}

void decode_bfe(Builder& b) {
    Type t = b.type();
    b.i.d = b.def(0, t);
    b.i.a = b.use(1, t);
    b.i.b = b.use(2, Type::U32);
    b.i.c = b.use(3, Type::U32);
    b.emit(t == Type::U32 ? extract_field<uint32_t> : t == Type::S32 ? extract_field<int32_t> : t == Type::U64 ? extract_field<uint64_t> : extract_field<int64_t>);
}

template <class T> void insert_field(Warp& w, const Instruction& i) {
    constexpr uint32_t width = 8 * sizeof(T);
    const T *a = w.in<T>(i.a), *b = w.in<T>(i.b);
    const auto *start = w.in<uint32_t>(i.c), *length = w.in<uint32_t>(i.more[0]);
    assign(w.active, w.out<T>(i.d), [=](int l) {
        uint32_t s = start[l] & 255, n = length[l] & 255;
        T field = n >= width ? ~T(0) : (T(1) << n) - 1;
        T mask = s < width ? static_cast<T>(field << s) : T(0);
        return static_cast<T>((b[l] & ~mask) | (s < width ? (a[l] << s) & mask : 0));
    });
}

void decode_bfi(Builder& b) {
    Type t = b.type();
    b.i.d = b.def(0, t);
    b.i.a = b.use(1, t);
    b.i.b = b.use(2, t);
    b.i.c = b.use(3, Type::U32);
    b.more(b.use(4, Type::U32));
    b.emit(bits_of(t) == 64 ? insert_field<uint64_t> : insert_field<uint32_t>);
}

struct Reverse {
    template <class T> static T apply(T a) {
        T r = 0;
        for (unsigned k = 0; k < 8 * sizeof(T); ++k) r |= (a >> k & 1) << (8 * sizeof(T) - 1 - k);
        return r;
    }
};

template <class T, class F> void to_count(Warp& w, const Instruction& i, F&& f) {
    const T* a = w.in<T>(i.a);
    assign(w.active, w.out<uint32_t>(i.d), [=](int l) { return static_cast<uint32_t>(f(a[l])); });
}
template <class T> void count_ones(Warp& w, const Instruction& i) { to_count<T>(w, i, [](T a) { return std::popcount(a); }); }
template <class T> void count_leading_zeros(Warp& w, const Instruction& i) { to_count<T>(w, i, [](T a) { return std::countl_zero(a); }); }
template <class T, bool ShiftAmount> void find_leading(Warp& w, const Instruction& i) {
    to_count<std::make_unsigned_t<T>>(w, i, [](std::make_unsigned_t<T> a) {
        if (std::is_signed_v<T> && a >> (8 * sizeof(T) - 1)) a = ~a;
        int zeros = std::countl_zero(a);
        return a == 0 ? ~0u : static_cast<uint32_t>(ShiftAmount ? zeros : static_cast<int>(8 * sizeof(T)) - 1 - zeros);
    });
}

void decode_count(Builder& b) {
    bool shift = b.take("shiftamt");
    Type t = b.type();
    b.i.d = b.def(0, Type::U32);
    b.i.a = b.use(1, t);
    bool wide = bits_of(t) == 64;
    if (b.name() == "popc") b.emit(wide ? count_ones<uint64_t> : count_ones<uint32_t>);
    else if (b.name() == "clz") b.emit(wide ? count_leading_zeros<uint64_t> : count_leading_zeros<uint32_t>);
    else if (is_signed(t)) b.emit(wide ? (shift ? find_leading<int64_t, true> : find_leading<int64_t, false>) : shift ? find_leading<int32_t, true> : find_leading<int32_t, false>);
    else b.emit(wide ? (shift ? find_leading<uint64_t, true> : find_leading<uint64_t, false>) : shift ? find_leading<uint32_t, true> : find_leading<uint32_t, false>);
}

void permute_bytes(Warp& w, const Instruction& i) {
    const auto *a = w.in<uint32_t>(i.a), *b = w.in<uint32_t>(i.b), *selector = w.in<uint32_t>(i.c);
    assign(w.active, w.out<uint32_t>(i.d), [=](int l) {
        uint64_t bytes = static_cast<uint64_t>(b[l]) << 32 | a[l];
        uint32_t r = 0;
        for (int k = 0; k < 4; ++k) {
            uint32_t s = selector[l] >> (4 * k) & 15, byte = bytes >> (8 * (s & 7)) & 255;
            r |= (s & 8 ? (byte & 128 ? 255u : 0u) : byte) << (8 * k);
        }
        return r;
    });
}

// The modes of prmt as the selector of its general form.
template <int Mode> void permute_mode(Warp& w, const Instruction& i) {
    constexpr uint32_t selectors[6][4] = {{0x3210, 0x4321, 0x5432, 0x6543}, {0x5670, 0x6701, 0x7012, 0x0123}, {0x0000, 0x1111, 0x2222, 0x3333},
                                          {0x3210, 0x3211, 0x3222, 0x3333}, {0x0000, 0x1110, 0x2210, 0x3210}, {0x1010, 0x3232, 0x1010, 0x3232}};
    const auto *a = w.in<uint32_t>(i.a), *b = w.in<uint32_t>(i.b), *c = w.in<uint32_t>(i.c);
    assign(w.active, w.out<uint32_t>(i.d), [=](int l) {
        uint64_t bytes = static_cast<uint64_t>(b[l]) << 32 | a[l];
        uint32_t r = 0;
        for (int k = 0; k < 4; ++k) r |= static_cast<uint32_t>(bytes >> (8 * (selectors[Mode][c[l] & 3] >> (4 * k) & 7)) & 255) << (8 * k);
        return r;
    });
}

void decode_prmt(Builder& b) {
    b.type();
    b.i.d = b.def(0, Type::B32);
    b.i.a = b.use(1, Type::B32);
    b.i.b = b.use(2, Type::B32);
    b.i.c = b.use(3, Type::B32);
    constexpr Handler modes[] = {permute_mode<0>, permute_mode<1>, permute_mode<2>, permute_mode<3>, permute_mode<4>, permute_mode<5>};
    int mode = b.choose({"f4e", "b4e", "rc8", "ecl", "ecr", "rc16"});
    b.emit(mode < 0 ? permute_bytes : modes[mode]);
}

void logic_table(Warp& w, const Instruction& i) {
    const auto *a = w.in<uint32_t>(i.a), *b = w.in<uint32_t>(i.b), *c = w.in<uint32_t>(i.c);
    uint32_t row[8];
    for (int k = 0; k < 8; ++k) row[k] = i.immediate >> k & 1 ? ~0u : 0;
    assign(w.active, w.out<uint32_t>(i.d), [=](int l) {
        uint32_t x = a[l], y = b[l], z = c[l];
        return (row[0] & ~x & ~y & ~z) | (row[1] & ~x & ~y & z) | (row[2] & ~x & y & ~z) | (row[3] & ~x & y & z)
             | (row[4] & x & ~y & ~z) | (row[5] & x & ~y & z) | (row[6] & x & y & ~z) | (row[7] & x & y & z);
    });
}

void decode_lop3(Builder& b) {
    b.type();
    b.i.d = b.def(0, Type::B32);
    b.i.a = b.use(1, Type::B32);
    b.i.b = b.use(2, Type::B32);
    b.i.c = b.use(3, Type::B32);
    b.i.immediate = static_cast<int64_t>(b.immediate(4));
    b.emit(logic_table);
}

template <class A, class B> void dot_bytes(Warp& w, const Instruction& i) {
    const auto *a = w.in<uint32_t>(i.a), *b = w.in<uint32_t>(i.b), *c = w.in<uint32_t>(i.c);
    assign(w.active, w.out<uint32_t>(i.d), [=](int l) {
        uint32_t sum = c[l];
        for (int k = 0; k < 4; ++k) sum += static_cast<uint32_t>(static_cast<int32_t>(static_cast<A>(a[l] >> (8 * k))) * static_cast<int32_t>(static_cast<B>(b[l] >> (8 * k))));
        return sum;
    });
}

void decode_dp4a(Builder& b) {
    Type x = b.type(), y = b.type();
    b.i.d = b.def(0, Type::B32);
    b.i.a = b.use(1, Type::B32);
    b.i.b = b.use(2, Type::B32);
    b.i.c = b.use(3, Type::B32);
    b.emit(is_signed(x) ? (is_signed(y) ? dot_bytes<int8_t, int8_t> : dot_bytes<int8_t, uint8_t>) : is_signed(y) ? dot_bytes<uint8_t, int8_t> : dot_bytes<uint8_t, uint8_t>);
}

// ---- moves

template <class T> void move(Warp& w, const Instruction& i) {
    const T* a = w.in<T>(i.a);
    assign(w.active, w.out<T>(i.d), [=](int l) { return a[l]; });
}

template <class Wide, class Part> void pack(Warp& w, const Instruction& i) {
    constexpr int parts = sizeof(Wide) / sizeof(Part);
    assign(w.active, w.out<Wide>(i.d), [&](int l) {
        Wide r = 0;
        for (int k = 0; k < parts; ++k) r |= static_cast<Wide>(w.in<Part>(i.more[k])[l]) << (8 * sizeof(Part) * k);
        return r;
    });
}

template <class Wide, class Part> void unpack(Warp& w, const Instruction& i) {
    constexpr int parts = sizeof(Wide) / sizeof(Part);
    Wide source[32];
    std::memcpy(source, w.in<Wide>(i.a), sizeof source);
    for (int k = 0; k < parts; ++k) assign(w.active, w.out<Part>(i.more[k]), [&](int l) { return static_cast<Part>(source[l] >> (8 * sizeof(Part) * k)); });
}

Handler move_handler(int bits) { return bits == 16 ? move<uint16_t> : bits == 32 ? move<uint32_t> : move<uint64_t>; }

enum class Special : uint32_t { ThreadX, ThreadY, ThreadZ, BlockSizeX, BlockSizeY, BlockSizeZ, BlockX, BlockY, BlockZ, GridX, GridY, GridZ, Lane, WarpIndex, WarpCount,
                                LanesEqual, LanesBelow, LanesUpTo, LanesAbove, LanesFrom, Clock, Processor, Processors, DynamicShared, TotalShared, Zero, One };

const std::map<std::string, Special>& special_registers() {
    static const std::map<std::string, Special> table{
        {"%tid.x", Special::ThreadX}, {"%tid.y", Special::ThreadY}, {"%tid.z", Special::ThreadZ}, {"%ntid.x", Special::BlockSizeX},
        {"%ntid.y", Special::BlockSizeY}, {"%ntid.z", Special::BlockSizeZ}, {"%ctaid.x", Special::BlockX}, {"%ctaid.y", Special::BlockY},
        {"%ctaid.z", Special::BlockZ}, {"%nctaid.x", Special::GridX}, {"%nctaid.y", Special::GridY}, {"%nctaid.z", Special::GridZ},
        {"%laneid", Special::Lane}, {"%warpid", Special::WarpIndex}, {"%nwarpid", Special::WarpCount}, {"%lanemask_eq", Special::LanesEqual},
        {"%lanemask_lt", Special::LanesBelow}, {"%lanemask_le", Special::LanesUpTo}, {"%lanemask_gt", Special::LanesAbove}, {"%lanemask_ge", Special::LanesFrom},
        {"%clock", Special::Clock}, {"%clock64", Special::Clock}, {"%globaltimer", Special::Clock}, {"%smid", Special::Processor}, {"%nsmid", Special::Processors},
        {"%dynamic_smem_size", Special::DynamicShared}, {"%total_smem_size", Special::TotalShared}, {"%cluster_ctarank", Special::Zero},
        {"%cluster_ctaid.x", Special::Zero}, {"%cluster_ctaid.y", Special::Zero}, {"%cluster_ctaid.z", Special::Zero}, {"%cluster_nctarank", Special::One},
        {"%cluster_nctaid.x", Special::One}, {"%cluster_nctaid.y", Special::One}, {"%cluster_nctaid.z", Special::One}};
    return table;
}

uint64_t special_value(const Warp& w, Special special, int lane) {
    const Block& block = *w.block;
    const Dim3 &size = block.launch.request.block, &grid = block.launch.request.grid;
    uint32_t thread = w.thread(lane);
    switch (special) {
        case Special::ThreadX: return thread % size.x;
        case Special::ThreadY: return thread / size.x % size.y;
        case Special::ThreadZ: return thread / size.x / size.y;
        case Special::BlockSizeX: return size.x;
        case Special::BlockSizeY: return size.y;
        case Special::BlockSizeZ: return size.z;
        case Special::BlockX: return block.id.x;
        case Special::BlockY: return block.id.y;
        case Special::BlockZ: return block.id.z;
        case Special::GridX: return grid.x;
        case Special::GridY: return grid.y;
        case Special::GridZ: return grid.z;
        case Special::Lane: return static_cast<uint64_t>(lane);
        case Special::WarpIndex: return w.index;
        case Special::WarpCount: return block.warps.size();
        case Special::LanesEqual: return 1u << lane;
        case Special::LanesBelow: return (1u << lane) - 1;
        case Special::LanesUpTo: return ~0u >> (31 - lane);
        case Special::LanesAbove: return ~(~0u >> (31 - lane));
        case Special::LanesFrom: return ~((1u << lane) - 1);
        case Special::Clock: return block.stamp * 1000ull + w.executed;
        case Special::Processor: return block.linear % 108;
        case Special::Processors: return 108;
        case Special::DynamicShared: return block.launch.request.dynamic_shared_bytes;
        case Special::TotalShared: return block.launch.shared_bytes;
        case Special::Zero: return 0;
        case Special::One: return 1;
    }
    return 0;
}

template <class T> void read_special(Warp& w, const Instruction& i) {
    T* d = w.out<T>(i.d);
    each(w.active, [&](int lane) { d[lane] = static_cast<T>(special_value(w, static_cast<Special>(i.flags), lane)); });
}

void decode_mov(Builder& b) {
    Type t = b.type();
    const ptx::Operand &to = b.operand(0), &from = b.operand(1);
    int bits = register_bits_of(t);
    if (from.kind == ptx::Operand::Kind::Vector) {
        int part = bits / static_cast<int>(from.elements.size());
        b.i.d = b.def(0, t);
        for (const ptx::Operand& e : from.elements) b.more(b.use(e, part == 16 ? Type::B16 : Type::B32));
        return b.emit(bits == 32 ? pack<uint32_t, uint16_t> : part == 16 ? pack<uint64_t, uint16_t> : pack<uint64_t, uint32_t>);
    }
    if (to.kind == ptx::Operand::Kind::Vector) {
        int part = bits / static_cast<int>(to.elements.size());
        b.i.a = b.use(1, t);
        for (const ptx::Operand& e : to.elements) b.more(b.def(e, part == 16 ? Type::B16 : Type::B32));
        return b.emit(bits == 32 ? unpack<uint32_t, uint16_t> : part == 16 ? unpack<uint64_t, uint16_t> : unpack<uint64_t, uint32_t>);
    }
    if (bits > 64) b.unknown();
    b.i.d = b.def(0, t);
    if (t == Type::Pred) {
        if (from.kind == ptx::Operand::Kind::Immediate) {
            b.i.immediate = from.bits;
            return b.emit(set_predicate_to);
        }
        b.i.a = b.use(1, t);
        return b.emit(move_predicate);
    }
    if (from.kind == ptx::Operand::Kind::Symbol && from.name[0] == '%') {
        auto it = special_registers().find(from.name);
        if (it == special_registers().end()) b.fail("unknown special register '" + from.name + "'");
        b.i.flags = static_cast<uint32_t>(it->second);
        return b.emit(bits == 64 ? read_special<uint64_t> : bits == 16 ? read_special<uint16_t> : read_special<uint32_t>);
    }
    b.i.a = b.use(1, t);
    b.kind(MoveClass);
    b.emit(move_handler(bits));
}

}  // namespace

const DecoderTable& bit_decoders() {
    static const DecoderTable table{
        {"and", decode_logic<And>}, {"or", decode_logic<Or>}, {"xor", decode_logic<Xor>}, {"not", decode_not<Not>}, {"cnot", decode_not<LogicalNot>},
        {"shl", decode_shift}, {"shr", decode_shift}, {"shf", decode_funnel}, {"bfe", decode_bfe}, {"bfi", decode_bfi},
        {"brev", [](Builder& b) {
             Type t = b.type();
             b.i.d = b.def(0, t);
             b.i.a = b.use(1, t);
             b.emit(unary_bits<Reverse>(t));
         }},
        {"popc", decode_count}, {"clz", decode_count}, {"bfind", decode_count}, {"prmt", decode_prmt}, {"lop3", decode_lop3}, {"dp4a", decode_dp4a}, {"mov", decode_mov}};
    return table;
}

}  // namespace kf
