// builder.h - what a family of instructions uses to decode one statement.
#pragma once

#include <functional>
#include <map>

#include "code.h"

namespace kf {

enum class Type : uint8_t { Pred, U8, U16, U32, U64, S8, S16, S32, S64, B8, B16, B32, B64, B128, F16, BF16, F16x2, BF16x2, F32, F64, None };

constexpr int bits_of(Type t) {
    switch (t) {
        case Type::Pred: return 1;
        case Type::U8: case Type::S8: case Type::B8: return 8;
        case Type::U16: case Type::S16: case Type::B16: case Type::F16: case Type::BF16: return 16;
        case Type::U64: case Type::S64: case Type::B64: case Type::F64: return 64;
        case Type::B128: return 128;
        case Type::None: return 0;
        default: return 32;
    }
}
constexpr int register_bits_of(Type t) { return bits_of(t) == 8 ? 16 : bits_of(t); }
constexpr bool is_signed(Type t) { return t == Type::S8 || t == Type::S16 || t == Type::S32 || t == Type::S64; }
Type parse_type(const std::string& word);

// An instruction whose operands are still virtual: register number * 2, or constant offset | 1.
struct Draft {
    Instruction instruction;
    std::vector<uint32_t> more;
    std::vector<uint32_t> defined, used;  // register numbers
    const ptx::Statement* statement = nullptr;
    bool ends = false;                    // control does not go on to the next one (when not guarded)
    std::vector<uint32_t> targets;        // statement indices, then draft indices
    InstructionClass kind = PlainClass;
    uint8_t products = 0;
};

struct SymbolAddress { ptx::Space space; uint64_t value; };

// The parts of the lowering that do not change from statement to statement.
struct Unit {
    std::vector<int> register_bits;
    std::vector<Draft> drafts;
    std::map<std::string, SymbolAddress> symbols;
    std::vector<char> constants;
    std::map<std::pair<int, uint64_t>, uint32_t> constant_at;  // (bits, value)
    int condition_code = -1;                                   // register of add.cc and friends

    uint32_t constant(int bits, uint64_t value);  // operand
};

class Builder {
public:
    Builder(Unit& unit, const ptx::Statement& statement) : i(draft_.instruction), unit_(unit), s_(statement), words_(statement.opcode.begin() + 1, statement.opcode.end()) {}

    Instruction& i;

    const std::string& name() const { return s_.opcode[0]; }
    const ptx::Statement& statement() const { return s_; }

    // ---- modifiers: each must be taken by someone
    bool take(std::string_view word);
    int choose(std::initializer_list<std::string_view> words);  // index of the one that is there and taken, or -1
    Type type();                                                // the first type among the modifiers
    void take_all() { words_.clear(); }                         // of instructions that do nothing here
    void drop_hints();                                          // cache and eviction hints that mean nothing here
    bool has(std::string_view word) const;

    // ---- operands
    size_t count() const { return s_.operands.size(); }
    const ptx::Operand& operand(size_t k) const;
    uint32_t use(size_t k, Type t) { return use(operand(k), t); }
    uint32_t use(const ptx::Operand& o, Type t);
    uint32_t def(size_t k, Type t) { return def(operand(k), t); }
    uint32_t def(const ptx::Operand& o, Type t);
    uint32_t use_predicate(const ptx::Operand& o);   // register; see negated
    uint32_t def_register(int reg);
    uint32_t use_register(int reg);
    int temporary(int bits);
    std::vector<const ptx::Operand*> elements(size_t k) const;  // of a vector, or the operand itself
    void more(uint32_t operand) { draft_.more.push_back(operand); }
    // Sets i.a and i.immediate; the address is 32 bits wide for shared memory, 64 otherwise. Returns the space of a symbol, if one is named.
    void address(size_t k, bool narrow);
    uint64_t immediate(size_t k) const;
    const SymbolAddress* symbol(const ptx::Operand& o) const;
    Unit& unit() { return unit_; }

    void kind(InstructionClass k, size_t products = 0) { draft_.kind = k, draft_.products = static_cast<uint8_t>(products); }
    void ends() { draft_.ends = true; }
    uint32_t targets() const { return static_cast<uint32_t>(draft_.targets.size()); }
    void target(uint32_t statement_index) { draft_.targets.push_back(statement_index); }

    // Closes the instruction: all modifiers must be taken. May be called again for a second one.
    void emit(Handler handler);
    [[noreturn]] void fail(const std::string& what) const;
    [[noreturn]] void unknown() const { fail("unknown instruction '" + s_.text() + "'"); }

private:
    void append(Draft&& draft, bool guarded);
    Draft resize(uint32_t to, int to_bits, uint32_t from, int from_bits, bool sign);

    Draft draft_;
    Unit& unit_;
    const ptx::Statement& s_;
    std::vector<std::string> words_;
    std::vector<Draft> before_, after_;
};

using Decoder = void (*)(Builder&);
using DecoderTable = std::map<std::string, Decoder>;

void decode_warp_barrier(Builder& b);

const DecoderTable& arithmetic_decoders();
const DecoderTable& bit_decoders();
const DecoderTable& compare_decoders();
const DecoderTable& convert_decoders();
const DecoderTable& memory_decoders();
const DecoderTable& atomic_decoders();
const DecoderTable& control_decoders();
const DecoderTable& collective_decoders();
const DecoderTable& matrix_decoders();
const DecoderTable& async_decoders();
const DecoderTable& warpgroup_decoders();

void decode_bulk(Builder& b);  // cp.async.bulk, after those words

}  // namespace kf
