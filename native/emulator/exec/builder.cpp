#include "builder.h"

#include <bit>

#include "warp.h"

namespace kf {

Type parse_type(const std::string& word) {
    static const std::map<std::string, Type> types{
        {"pred", Type::Pred}, {"u8", Type::U8}, {"u16", Type::U16}, {"u32", Type::U32}, {"u64", Type::U64}, {"s8", Type::S8}, {"s16", Type::S16},
        {"s32", Type::S32}, {"s64", Type::S64}, {"b8", Type::B8}, {"b16", Type::B16}, {"b32", Type::B32}, {"b64", Type::B64}, {"b128", Type::B128},
        {"f16", Type::F16}, {"bf16", Type::BF16}, {"f16x2", Type::F16x2}, {"bf16x2", Type::BF16x2}, {"f32", Type::F32}, {"f64", Type::F64}};
    auto it = types.find(word);
    return it == types.end() ? Type::None : it->second;
}

uint32_t Unit::constant(int bits, uint64_t value) {
    if (bits < 64) value &= (1ull << bits) - 1;
    auto [it, is_new] = constant_at.try_emplace({bits, value}, static_cast<uint32_t>(constants.size()) | 1);
    if (is_new) {
        size_t at = constants.size(), width = bits / 8;
        constants.resize(at + 32 * width);
        for (int lane = 0; lane < 32; ++lane) std::memcpy(&constants[at + lane * width], &value, width);
    }
    return it->second;
}

namespace {

template <class To, class From> void resize_lanes(Warp& w, const Instruction& i) {
    const From* a = w.in<From>(i.a);
    assign(w.active, w.out<To>(i.d), [=](int lane) { return static_cast<To>(a[lane]); });
}

template <class From> Handler resize_to(int bits) {
    return bits == 16 ? resize_lanes<uint16_t, From> : bits == 32 ? resize_lanes<uint32_t, From> : resize_lanes<uint64_t, From>;
}

Handler resize_handler(int to, int from, bool sign) {
    switch (from) {
        case 16: return sign ? resize_to<int16_t>(to) : resize_to<uint16_t>(to);
        case 32: return sign ? resize_to<int32_t>(to) : resize_to<uint32_t>(to);
        default: return resize_to<uint64_t>(to);
    }
}

}  // namespace

bool Builder::take(std::string_view word) {
    for (size_t k = 0; k < words_.size(); ++k)
        if (words_[k] == word) {
            words_.erase(words_.begin() + static_cast<std::ptrdiff_t>(k));
            return true;
        }
    return false;
}

bool Builder::has(std::string_view word) const {
    for (const std::string& w : words_)
        if (w == word) return true;
    return false;
}

int Builder::choose(std::initializer_list<std::string_view> words) {
    int index = 0;
    for (std::string_view word : words) {
        if (take(word)) return index;
        ++index;
    }
    return -1;
}

Type Builder::type() {
    for (size_t k = 0; k < words_.size(); ++k)
        if (Type t = parse_type(words_[k]); t != Type::None) {
            words_.erase(words_.begin() + static_cast<std::ptrdiff_t>(k));
            return t;
        }
    unknown();
}

void Builder::drop_hints() {
    std::erase_if(words_, [](const std::string& w) {
        return w == "ca" || w == "cg" || w == "cs" || w == "lu" || w == "cv" || w == "wb" || w == "wt" || w == "nc" || w.starts_with("L1::") || w.starts_with("L2::");
    });
}

const ptx::Operand& Builder::operand(size_t k) const {
    if (k >= s_.operands.size()) fail("too few operands for '" + s_.text() + "'");
    return s_.operands[k];
}

std::vector<const ptx::Operand*> Builder::elements(size_t k) const {
    const ptx::Operand& o = operand(k);
    if (o.kind != ptx::Operand::Kind::Vector) return {&o};
    std::vector<const ptx::Operand*> result;
    for (const ptx::Operand& e : o.elements) result.push_back(&e);
    return result;
}

uint32_t Builder::use_register(int reg) {
    draft_.used.push_back(static_cast<uint32_t>(reg));
    return static_cast<uint32_t>(reg) * 2;
}

uint32_t Builder::def_register(int reg) {
    draft_.defined.push_back(static_cast<uint32_t>(reg));
    return static_cast<uint32_t>(reg) * 2;
}

int Builder::temporary(int bits) {
    unit_.register_bits.push_back(bits);
    return static_cast<int>(unit_.register_bits.size()) - 1;
}

Draft Builder::resize(uint32_t to, int to_bits, uint32_t from, int from_bits, bool sign) {
    Draft d;
    d.instruction.run = resize_handler(to_bits, from_bits, sign);
    d.instruction.d = to * 2;
    d.instruction.a = from * 2;
    d.defined = {to};
    d.used = {from};
    return d;
}

uint32_t Builder::use(const ptx::Operand& o, Type t) {
    int bits = register_bits_of(t);
    switch (o.kind) {
        case ptx::Operand::Kind::Register: {
            int have = unit_.register_bits[o.reg];
            if (have == bits) return use_register(o.reg);
            if (have == 1 || bits == 1) fail("predicate and number mixed in '" + s_.text() + "'");
            int copy = temporary(bits);
            before_.push_back(resize(copy, bits, o.reg, have, is_signed(t)));
            return use_register(copy);
        }
        case ptx::Operand::Kind::Immediate: {
            uint64_t value = static_cast<uint64_t>(o.bits);
            if (o.is_float && o.single && t == Type::F64) value = std::bit_cast<uint64_t>(static_cast<double>(as_float(static_cast<uint32_t>(value))));
            if (o.is_float && !o.single && bits == 32) value = as_bits(static_cast<float>(std::bit_cast<double>(value)));
            return unit_.constant(bits, value);
        }
        case ptx::Operand::Kind::Symbol:
            if (const SymbolAddress* symbol_address = symbol(o)) return unit_.constant(bits, symbol_address->value + static_cast<uint64_t>(o.bits));
            fail("unknown symbol '" + o.name + "'");
        default: fail("unexpected operand in '" + s_.text() + "'");
    }
}

uint32_t Builder::def(const ptx::Operand& o, Type t) {
    int bits = register_bits_of(t);
    if (o.kind == ptx::Operand::Kind::Sink) return def_register(temporary(bits));
    if (o.kind != ptx::Operand::Kind::Register) fail("expected a register as the destination of '" + s_.text() + "'");
    int have = unit_.register_bits[o.reg];
    if (have == bits) return def_register(o.reg);
    if (have == 1 || bits == 1) fail("predicate and number mixed in '" + s_.text() + "'");
    int value = temporary(bits);
    after_.push_back(resize(o.reg, have, value, bits, is_signed(t)));
    return def_register(value);
}

uint32_t Builder::use_predicate(const ptx::Operand& o) {
    if (o.kind != ptx::Operand::Kind::Register || unit_.register_bits[o.reg] != 1) fail("expected a predicate in '" + s_.text() + "'");
    return use_register(o.reg);
}

const SymbolAddress* Builder::symbol(const ptx::Operand& o) const {
    auto it = unit_.symbols.find(o.name);
    return it == unit_.symbols.end() ? nullptr : &it->second;
}

void Builder::address(size_t k, bool narrow) {
    const ptx::Operand& o = operand(k);
    if (o.kind != ptx::Operand::Kind::Address) fail("expected an address in '" + s_.text() + "'");
    Type t = narrow ? Type::U32 : Type::U64;
    i.immediate = o.bits;
    if (o.reg >= 0) {
        ptx::Operand base = o;
        base.kind = ptx::Operand::Kind::Register;
        i.a = use(base, t);
    } else if (o.has_base) {
        const SymbolAddress* a = symbol(o);
        if (!a) fail("unknown symbol '" + o.name + "'");
        i.a = unit_.constant(narrow ? 32 : 64, a->value);
    } else {
        i.a = unit_.constant(narrow ? 32 : 64, 0);
    }
}

uint64_t Builder::immediate(size_t k) const {
    const ptx::Operand& o = operand(k);
    if (o.kind != ptx::Operand::Kind::Immediate) fail("expected a constant in '" + s_.text() + "'");
    return static_cast<uint64_t>(o.bits);
}

void Builder::append(Draft&& draft, bool guarded) {
    draft.statement = &s_;
    if (guarded && s_.guard >= 0) {
        draft.instruction.guard = static_cast<uint32_t>(s_.guard) * 2;
        draft.instruction.guard_flip = s_.guard_negated ? ~0u : 0;
        draft.used.push_back(static_cast<uint32_t>(s_.guard));
        draft.used.insert(draft.used.end(), draft.defined.begin(), draft.defined.end());  // lanes that are off keep the old value
    }
    unit_.drafts.push_back(std::move(draft));
}

void Builder::emit(Handler handler) {
    if (!words_.empty()) fail("unknown modifier '." + words_[0] + "' in '" + s_.text() + "'");
    if (!handler) unknown();
    draft_.instruction.run = handler;
    for (Draft& d : before_) append(std::move(d), false);
    append(std::move(draft_), true);
    for (Draft& d : after_) append(std::move(d), true);
    draft_ = {};
    before_.clear(), after_.clear();
}

void Builder::fail(const std::string& what) const { throw ptx::Error(s_.line, what); }

}  // namespace kf
