// code.h - a kernel as the engine runs it: decoded instructions over register slots.
//
// An operand is a byte offset. Bit 0 tells where: 0 in the registers of the warp, 1 in the constants of the kernel. A register is a row of 32
// lanes, 2, 4 or 8 bytes each; a predicate is one 32-bit lane mask.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "../engine.h"
#include "../ptx/syntax.h"

namespace kf {

constexpr uint32_t none = ~0u;

// Generic addresses of the small windows; no heap address has these upper bits.
constexpr uint64_t shared_window = 1ull << 56, local_window = 2ull << 56, parameter_window = 3ull << 56;
constexpr uint32_t dynamic_shared_alignment = 1024;

struct Warp;
struct Instruction;
using Handler = void (*)(Warp&, const Instruction&);

enum InstructionClass : uint8_t { PlainClass, MmaClass, BarrierClass, AtomicClass, MoveClass, ProductClass };  // a product is one of wgmma

struct Instruction {
    Handler run = nullptr;
    uint32_t d = none, a = none, b = none, c = none;
    uint32_t guard = none;        // offset of a predicate register
    uint32_t guard_flip = 0;      // ~0 for @!p
    int64_t immediate = 0;        // address offset, lookup table, ...
    const uint32_t* more = nullptr;  // further operands of vectors and fragments
    uint32_t flags = 0;           // meaning depends on the handler
    uint32_t target = 0;          // of a branch
};

// What reports and counters say of an instruction.
struct Place {
    uint32_t file = 0, line = 0, ptx_line = 0, opcode = 0;  // opcode: index in Code::opcodes
    uint32_t chain = 0;  // index in LoadedModule::chains
    InstructionClass kind = PlainClass;
    uint8_t products = 0;  // of m16n8k16 for a warp: 1, or columns / 8 of wgmma
};

// A 32-bit register that an instruction reads or writes. Slots are shared by registers that live one after the other.
struct Touch {
    uint32_t slot, register_number;
    bool writes;
};

struct AlignedFree { void operator()(void* p) const { std::free(p); } };

struct Code {
    KernelInfo info;
    std::vector<Instruction> instructions;
    std::vector<Place> places;
    std::vector<std::string> opcodes;
    std::vector<std::vector<uint32_t>> lists;         // storage of Instruction::more
    std::unique_ptr<char, AlignedFree> constants;
    std::vector<Touch> touches;                       // by instruction, in kernels with wgmma only
    std::vector<uint32_t> first_touch;                // of each instruction, and the end
    uint32_t register_count = 0;
    uint32_t register_bytes = 0;
    uint32_t shared_bytes = 0;                        // static ones
    mutable std::unique_ptr<uint8_t[]> covered;       // per instruction
};

struct LoadedModule : Module {
    LoadedModule(Heap& heap) : heap(heap) {}
    ~LoadedModule() override;
    const KernelInfo* find(const std::string& name) const override;
    std::vector<std::string> kernels() const override;
    bool variable(const std::string& name, uint64_t& address, uint64_t& bytes) const override;
    int version() const override { return version_number; }
    std::string target() const override { return target_name; }
    std::map<std::string, bool> lines() const override;
    // "file.cu:12, inlined at other.cu:80", or "ptx line 80" without line information.
    std::string place(const Place& p) const;
    std::string line(uint32_t file, uint32_t line) const;

    struct Symbol { uint64_t address, bytes; };
    Heap& heap;
    int version_number = 0;
    std::string target_name;
    std::map<uint32_t, std::string> files;
    std::vector<std::vector<ptx::Location>> chains;  // calls through which code was inlined, innermost first
    std::map<std::string, Symbol> symbols;
    std::map<std::string, std::unique_ptr<Code>> codes;
};

// Makes one kernel executable: calls are inlined, registers get slots, every instruction gets its handler.
std::unique_ptr<Code> lower(const ptx::Program& program, const ptx::Function& kernel, const LoadedModule& module);

}  // namespace kf
