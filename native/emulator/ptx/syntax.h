// syntax.h - PTX text as a tree: what the parser makes and the lowering reads.
//
// Registers are numbers from here on: scopes and names are resolved while parsing. A function keeps every statement with its source place.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

namespace kf::ptx {

// Thrown for text that cannot be run. what() starts with "ptx line N: ".
struct Error : std::runtime_error {
    Error(uint32_t line, const std::string& what) : std::runtime_error("ptx line " + std::to_string(line) + ": " + what) {}
};

enum class Space { Global, Const, Shared, Local, Param };

struct Variable {
    Space space = Space::Global;
    std::string name;
    uint32_t alignment = 1;
    uint64_t bytes = 0;  // 0: extern, sized at launch
    std::vector<uint8_t> initial;
    std::vector<std::pair<uint64_t, std::string>> addresses;  // offset in initial -> symbol whose address goes there
};

struct Operand {
    enum class Kind { Register, Immediate, Symbol, Address, Vector, List, Sink };
    Kind kind = Kind::Sink;
    std::string name;             // symbol or special register
    int reg = -1;                 // register number, also the base of an address
    int second = -1;              // q of p|q
    bool negated = false;         // !p
    bool has_base = false;        // an address with a register or symbol
    bool is_float = false;        // bits holds a double, or a float when single is set
    bool single = false;
    int64_t bits = 0;             // immediate, or the offset of an address
    std::vector<Operand> elements;  // of a vector or list; of an address the coordinates in a tensor
};

using Location = std::array<uint32_t, 3>;  // file, line, column of .loc

struct Statement {
    std::vector<std::string> opcode;  // "ld", "global", "f32"
    std::vector<Operand> operands;
    int guard = -1;
    bool guard_negated = false;
    uint32_t line = 0;   // of the PTX text
    uint32_t file = 0, source_line = 0;  // of .loc
    uint32_t inlined = 0;                // index in Program::chains
    uint32_t scope = 0;  // where labels are looked up

    std::string text() const {
        std::string s;
        for (const std::string& part : opcode) s += (s.empty() ? "" : ".") + part;
        return s;
    }
};

struct Function {
    std::string name;
    bool is_kernel = false, is_defined = false;
    uint32_t line = 0;
    std::vector<Variable> returns, parameters, variables;  // variables: local, shared and param ones of the body
    std::vector<int> register_bits;                        // 1, 16, 32, 64 by register number
    std::vector<Statement> body;
    std::vector<uint32_t> scope_parents;                   // 0 is the whole body
    std::map<std::pair<uint32_t, std::string>, uint32_t> labels;                     // (scope, name) -> statement index
    std::map<std::pair<uint32_t, std::string>, std::vector<std::string>> tables;     // .branchtargets
    uint32_t max_threads[3] = {0, 0, 0}, required_threads[3] = {0, 0, 0};

    // Statement index of a label seen from a scope.
    uint32_t label(const std::string& label, uint32_t scope, uint32_t line) const;
};

struct Program {
    int version = 0;
    std::string target;
    std::map<uint32_t, std::string> files;
    std::vector<std::vector<Location>> chains{{}};  // calls through which code was inlined, innermost first; the first is empty
    std::vector<Variable> variables;        // global, const and shared ones of the module
    std::map<std::string, Function> functions;
};

Program parse(std::string_view text);

}  // namespace kf::ptx
