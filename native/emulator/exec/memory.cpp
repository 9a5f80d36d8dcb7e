// memory.cpp - ld, st, address conversions, prefetches.
#include "memory.h"

#include "builder.h"

namespace kf {
namespace {

// flags of loads and stores: the window in bits 0-1, elements in bits 2-4, then strong and acquires.
constexpr uint32_t strong_flag = 32, acquires_flag = 64;

Window window_of(const Instruction& i) { return static_cast<Window>(i.flags & 3); }
int elements_of(const Instruction& i) { return static_cast<int>(i.flags >> 2 & 7); }

// Values of Memory type in registers of Stored type.
template <class Memory, class Stored> void load(Warp& w, const Instruction& i) {
    Pointers p;
    int n = elements_of(i);
    Access access{.bytes = static_cast<uint32_t>(sizeof(Memory) * n), .reads = true, .strong = (i.flags & strong_flag) != 0, .acquires = (i.flags & acquires_flag) != 0};
    locate(w, i, window_of(i), access, p);
    for (int e = 0; e < n; ++e) {
        Stored* d = w.out<Stored>(i.more[e]);
        each(w.active, [&](int l) {
            Memory value;
            std::memcpy(&value, p.at[l] + e * sizeof(Memory), sizeof value);
            d[l] = static_cast<Stored>(value);
        });
    }
}

template <class Memory, class Stored> void store(Warp& w, const Instruction& i) {
    Memory values[32 * 8];
    int n = elements_of(i);
    for (int e = 0; e < n; ++e) {
        const Stored* s = w.in<Stored>(i.more[e]);
        for (int l = 0; l < 32; ++l) values[l * n + e] = static_cast<Memory>(s[l]);
    }
    Pointers p;
    Access access{.bytes = static_cast<uint32_t>(sizeof(Memory) * n), .writes = true, .strong = (i.flags & strong_flag) != 0, .values = reinterpret_cast<const char*>(values)};
    locate(w, i, window_of(i), access, p);
    each(w.active, [&](int l) { std::memcpy(p.at[l], values + l * n, access.bytes); });
}

template <class T> void load_parameter(Warp& w, const Instruction& i) {
    const uint8_t* source = w.block->launch.request.parameters.data() + i.immediate;
    for (int e = 0; e < elements_of(i); ++e) {
        T value;
        std::memcpy(&value, source + e * sizeof(T), sizeof value);
        if constexpr (sizeof(T) == 1) {
            using Stored = std::conditional_t<std::is_signed_v<T>, int16_t, uint16_t>;
            assign(w.active, w.out<Stored>(i.more[e]), [=](int) { return static_cast<Stored>(value); });
        } else assign(w.active, w.out<T>(i.more[e]), [=](int) { return value; });
    }
}

Handler load_handler(Type t) {
    if (t == Type::S8) return load<int8_t, int16_t>;
    switch (bits_of(t)) {
        case 8: return load<uint8_t, uint16_t>;
        case 16: return load<uint16_t, uint16_t>;
        case 32: return load<uint32_t, uint32_t>;
        case 64: return load<uint64_t, uint64_t>;
        default: return nullptr;
    }
}

Handler store_handler(Type t) {
    switch (bits_of(t)) {
        case 8: return store<uint8_t, uint16_t>;
        case 16: return store<uint16_t, uint16_t>;
        case 32: return store<uint32_t, uint32_t>;
        case 64: return store<uint64_t, uint64_t>;
        default: return nullptr;
    }
}

Handler parameter_handler(Type t) {
    if (t == Type::S8) return load_parameter<int8_t>;
    switch (bits_of(t)) {
        case 8: return load_parameter<uint8_t>;
        case 16: return load_parameter<uint16_t>;
        case 32: return load_parameter<uint32_t>;
        case 64: return load_parameter<uint64_t>;
        default: return nullptr;
    }
}

Window take_window(Builder& b) {
    switch (b.choose({"global", "const", "shared", "shared::cta", "local"})) {
        case 0: case 1: return Window::Global;
        case 2: case 3: return Window::Shared;
        case 4: return Window::Local;
        default: return Window::Generic;
    }
}

uint32_t take_strength(Builder& b) {
    int strength = b.choose({"weak", "volatile", "relaxed", "acquire", "release"});
    b.choose({"cta", "gpu", "sys", "cluster"});
    return (strength >= 1 ? strong_flag : 0) | (strength == 1 || strength == 3 ? acquires_flag : 0);
}

void decode_access(Builder& b) {
    bool is_load = b.name() == "ld" || b.name() == "ldu";
    bool parameter = b.choose({"param", "param::entry", "param::func"}) >= 0;
    uint32_t strength = take_strength(b);
    Window window = take_window(b);
    b.drop_hints();
    b.choose({"v2", "v4", "v8"});
    Type t = b.type();
    auto registers = b.elements(is_load ? 0 : 1);
    for (const ptx::Operand* o : registers) b.more(is_load ? b.def(*o, t) : b.use(*o, t));
    size_t address = is_load ? 1 : 0;
    if (parameter) {
        const SymbolAddress* symbol = b.symbol(b.operand(address));
        if (symbol && symbol->space == ptx::Space::Param) {
            b.i.immediate = b.operand(address).bits + static_cast<int64_t>(symbol->value);
            b.i.flags = static_cast<uint32_t>(registers.size()) << 2;
            return b.emit(is_load ? parameter_handler(t) : nullptr);
        }
        if (symbol && symbol->space == ptx::Space::Local) window = Window::Local;  // a value passed in a call
        else {
            window = Window::Generic;  // an address of a parameter in a register
            b.address(address, false);
            b.i.immediate += static_cast<int64_t>(parameter_window);
        }
    }
    if (b.i.a == none) b.address(address, window == Window::Shared);
    b.i.flags = static_cast<uint32_t>(window) | static_cast<uint32_t>(registers.size()) << 2 | strength;
    b.emit(is_load ? load_handler(t) : store_handler(t));
}

// ---- addresses

template <class From, class To> void add_offset(Warp& w, const Instruction& i) {
    const From* a = w.in<From>(i.a);
    assign(w.active, w.out<To>(i.d), [=](int l) { return static_cast<To>(static_cast<uint64_t>(a[l]) + static_cast<uint64_t>(i.immediate)); });
}

void decode_cvta(Builder& b) {
    bool to = b.take("to");
    int space = b.choose({"global", "const", "shared", "shared::cta", "local", "param", "param::entry"});
    Type t = b.type();
    if (space < 0 || bits_of(t) != 64) b.unknown();
    constexpr uint64_t windows[] = {0, 0, shared_window, shared_window, local_window, parameter_window, parameter_window};
    b.i.d = b.def(0, t);
    b.i.a = b.use(1, t);
    b.i.immediate = static_cast<int64_t>(to ? 0 - windows[space] : windows[space]);
    b.emit(add_offset<uint64_t, uint64_t>);
}

void test_space(Warp& w, const Instruction& i) {
    const uint64_t* a = w.in<uint64_t>(i.a);
    uint64_t window = static_cast<uint64_t>(i.immediate);
    w.set_predicate(i.d, collect([=](int l) { return a[l] >> 56 == window; }));
}

void decode_isspacep(Builder& b) {
    int space = b.choose({"global", "const", "shared", "shared::cta", "local", "param"});
    if (space < 0) b.unknown();
    constexpr uint64_t windows[] = {0, 0, shared_window, shared_window, local_window, parameter_window};
    b.i.d = b.def(0, Type::Pred);
    b.i.a = b.use(1, Type::U64);
    b.i.immediate = static_cast<int64_t>(windows[space] >> 56);
    b.emit(test_space);
}

void nothing(Warp&, const Instruction&) {}

void decode_prefetch(Builder& b) {
    for (std::string_view word : {"global", "local", "L1", "L2", "tensormap", "param", "const", "L2::evict_last", "L2::evict_normal", "L1", "shared::cta"}) b.take(word);
    b.emit(nothing);
}

void decode_createpolicy(Builder& b) {
    b.choose({"fractional", "range"});
    b.take("global");
    while (b.choose({"L2::evict_first", "L2::evict_last", "L2::evict_normal", "L2::evict_unchanged"}) >= 0) {}
    Type t = b.type();
    b.i.d = b.def(0, t);
    b.i.a = b.unit().constant(64, 0);
    b.emit(add_offset<uint64_t, uint64_t>);
}

}  // namespace

const DecoderTable& memory_decoders() {
    static const DecoderTable table{{"ld", decode_access}, {"ldu", decode_access}, {"st", decode_access}, {"cvta", decode_cvta}, {"isspacep", decode_isspacep},
                                    {"prefetch", decode_prefetch}, {"prefetchu", decode_prefetch}, {"applypriority", decode_prefetch}, {"createpolicy", decode_createpolicy}};
    return table;
}

}  // namespace kf
