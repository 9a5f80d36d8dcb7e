// parser.cpp - reads the PTX that nvcc writes: directives, declarations, statements.
#include <bit>
#include <cctype>
#include <cstdlib>
#include <cstring>
#include <optional>
#include <set>

#include "syntax.h"

namespace kf::ptx {
namespace {

// Words, numbers and single punctuation characters; comments and white space are skipped.
class Lexer {
public:
    explicit Lexer(std::string_view text) : text_(text) { advance(); }

    std::string_view token() const { return token_; }
    uint32_t line() const { return token_line_; }
    bool at_end() const { return token_.empty(); }
    bool is(std::string_view t) const { return token_ == t; }
    char front() const { return token_.empty() ? '\0' : token_[0]; }

    bool accept(std::string_view t) {
        if (!is(t)) return false;
        advance();
        return true;
    }
    void expect(std::string_view t) {
        if (!accept(t)) fail("expected '" + std::string(t) + "'");
    }
    std::string take() {
        if (at_end()) fail("text ends early");
        std::string t(token_);
        advance();
        return t;
    }
    [[noreturn]] void fail(const std::string& what) const { throw Error(token_line_, what + " at '" + std::string(token_) + "'"); }

    void advance() {
        skip_blank();
        token_line_ = line_;
        size_t start = at_;
        if (at_ >= text_.size()) { token_ = {}; return; }
        if (text_[at_] == '"') {
            at_ = text_.find('"', at_ + 1);
            at_ = at_ == text_.npos ? text_.size() : at_ + 1;
        } else if (is_word(text_[at_])) {
            while (at_ < text_.size() && (is_word(text_[at_]) || is_double_colon())) at_ += is_word(text_[at_]) ? 1 : 2;
        } else {
            ++at_;
        }
        token_ = text_.substr(start, at_ - start);
    }

private:
    static bool is_word(char c) { return std::isalnum(static_cast<unsigned char>(c)) || c == '_' || c == '$' || c == '%' || c == '.'; }
    bool is_double_colon() const { return text_[at_] == ':' && at_ + 2 < text_.size() && text_[at_ + 1] == ':'; }

    void skip_blank() {
        while (at_ < text_.size()) {
            if (text_[at_] == '\n') ++line_, ++at_;
            else if (std::isspace(static_cast<unsigned char>(text_[at_]))) ++at_;
            else if (text_.substr(at_, 2) == "//") at_ = std::min(text_.find('\n', at_), text_.size());
            else if (text_.substr(at_, 2) == "/*") {
                size_t end = std::min(text_.find("*/", at_), text_.size() - 2) + 2;
                for (; at_ < end; ++at_) line_ += text_[at_] == '\n';
            } else return;
        }
    }

    std::string_view text_, token_;
    size_t at_ = 0;
    uint32_t line_ = 1, token_line_ = 1;
};

int type_bits(std::string_view type) {
    if (type == ".pred") return 1;
    size_t digits = type.find_first_of("0123456789");
    int bits = digits == type.npos ? 0 : std::atoi(std::string(type.substr(digits)).c_str());
    if (type == ".f16x2" || type == ".bf16x2") return 32;
    return bits;
}

bool is_type(std::string_view t) {
    static const std::set<std::string_view> types{".pred", ".b8", ".b16", ".b32", ".b64", ".b128", ".u8", ".u16", ".u32", ".u64", ".s8", ".s16", ".s32", ".s64",
                                                  ".f16", ".f16x2", ".bf16", ".bf16x2", ".f32", ".f64"};
    return types.contains(t);
}

class Parser {
public:
    explicit Parser(std::string_view text) : lex_(text) {}

    Program run() {
        while (!lex_.at_end()) top_level();
        return std::move(program_);
    }

private:
    void top_level() {
        if (lex_.accept(".version")) program_.version = version();
        else if (lex_.accept(".target")) target();
        else if (lex_.accept(".address_size")) {
            if (lex_.take() != "64") lex_.fail("only 64-bit addresses are supported");
        } else if (lex_.accept(".file")) file();
        else if (lex_.accept(".section")) skip_braces();
        else if (lex_.accept(".pragma") || lex_.accept(".alias")) skip_statement();
        else if (lex_.is(".visible") || lex_.is(".extern") || lex_.is(".weak") || lex_.is(".common")) {
            lex_.advance();
        } else if (lex_.accept(".entry")) function(true);
        else if (lex_.accept(".func")) function(false);
        else if (auto space = variable_space(); space) {
            lex_.advance();
            for (Variable& v : variables(*space)) program_.variables.push_back(std::move(v));
        } else lex_.fail("unknown directive");
    }

    int version() {
        std::string v = lex_.take();
        return std::atoi(v.c_str()) * 10 + std::atoi(v.substr(v.find('.') + 1).c_str());
    }

    void target() {
        program_.target = lex_.take();
        while (lex_.accept(",")) lex_.advance();
    }

    void file() {
        uint32_t number = static_cast<uint32_t>(std::stoul(lex_.take()));
        std::string path = lex_.take();
        if (path.size() >= 2) path = path.substr(1, path.size() - 2);
        program_.files[number] = path;
        while (lex_.accept(",")) lex_.advance();
    }

    void skip_braces() {
        while (!lex_.is("{")) lex_.take();
        int depth = 0;
        do {
            depth += lex_.is("{") ? 1 : lex_.is("}") ? -1 : 0;
            lex_.take();
        } while (depth);
    }

    void skip_statement() {
        while (lex_.take() != ";") {}
    }

    std::optional<Space> variable_space() const {
        if (lex_.is(".global")) return Space::Global;
        if (lex_.is(".const")) return Space::Const;
        if (lex_.is(".shared")) return Space::Shared;
        if (lex_.is(".local")) return Space::Local;
        if (lex_.is(".param")) return Space::Param;
        return {};
    }

    // After the space: ".align 4 .b8 name[16] = {...}, other[8];"
    std::vector<Variable> variables(Space space) {
        std::vector<Variable> result;
        Variable v = declaration(space);
        for (;;) {
            if (lex_.accept("=")) initialiser(v);
            result.push_back(v);
            if (!lex_.accept(",")) break;
            v.initial.clear(), v.addresses.clear();
            name_and_extent(v);
        }
        lex_.expect(";");
        return result;
    }

    uint64_t element_bytes_ = 1;

    Variable declaration(Space space) {
        Variable v;
        v.space = space;
        uint64_t vector = 1, aligned = 0;
        for (;;) {
            if (lex_.accept(".align")) aligned = number();
            else if (lex_.accept(".v2")) vector = 2;
            else if (lex_.accept(".v4")) vector = 4;
            else if (lex_.accept(".ptr") || lex_.accept(".global") || lex_.accept(".shared") || lex_.accept(".const") || lex_.accept(".local")
                     || lex_.accept(".unified") || lex_.accept(".managed")) continue;
            else if (is_type(lex_.token())) element_bytes_ = vector * type_bits(lex_.take()) / 8;
            else break;
        }
        v.alignment = static_cast<uint32_t>(aligned ? aligned : element_bytes_);
        name_and_extent(v);
        return v;
    }

    void name_and_extent(Variable& v) {
        v.name = lex_.take();
        uint64_t count = 1;
        bool open = false;
        while (lex_.accept("[")) {
            if (lex_.is("]")) open = true;
            else count *= number();
            lex_.expect("]");
        }
        v.bytes = open ? 0 : count * element_bytes_;
    }

    void initialiser(Variable& v) {
        if (lex_.accept("{")) {
            if (!lex_.is("}")) do initialiser(v); while (lex_.accept(","));
            lex_.expect("}");
        } else {
            std::string word = lex_.token().empty() ? "" : std::string(lex_.token());
            if (word == "-" || std::isdigit(static_cast<unsigned char>(word[0]))) {
                Operand o = immediate();
                for (uint64_t b = 0; b < element_bytes_; ++b) v.initial.push_back(static_cast<uint8_t>(b < 8 ? o.bits >> (8 * b) : 0));
            } else {
                bool generic = lex_.accept("generic");
                if (generic) lex_.expect("(");
                v.addresses.emplace_back(v.initial.size(), lex_.take());
                if (generic) lex_.expect(")");
                v.initial.resize(v.initial.size() + element_bytes_);
            }
        }
        if (v.bytes == 0) v.bytes = v.initial.size();
    }

    uint64_t number() {
        Operand o = immediate();
        return static_cast<uint64_t>(o.bits);
    }

    Operand immediate() {
        Operand o;
        o.kind = Operand::Kind::Immediate;
        bool minus = lex_.accept("-");
        std::string t = lex_.take();
        if (!std::isdigit(static_cast<unsigned char>(t[0]))) lex_.fail("expected a number, found '" + t + "'");
        bool hex = t.size() > 2 && t[0] == '0' && (t[1] == 'x' || t[1] == 'X');
        if (t.size() == 10 && t[0] == '0' && (t[1] == 'f' || t[1] == 'F')) {
            o.is_float = o.single = true;
            o.bits = static_cast<int64_t>(std::stoul(t.substr(2), nullptr, 16));
            if (minus) o.bits ^= 0x80000000;
        } else if (t.size() == 18 && t[0] == '0' && (t[1] == 'd' || t[1] == 'D')) {
            o.is_float = true;
            o.bits = static_cast<int64_t>(std::stoull(t.substr(2), nullptr, 16) ^ (minus ? 1ull << 63 : 0));
        } else if (!hex && t.find_first_of(".eE") != t.npos) {
            o.is_float = true;
            double value = std::strtod(t.c_str(), nullptr);
            o.bits = std::bit_cast<int64_t>(minus ? -value : value);
        } else {
            if (t.back() == 'U') t.pop_back();
            uint64_t value = std::stoull(t, nullptr, 0);
            o.bits = static_cast<int64_t>(minus ? 0 - value : value);
        }
        return o;
    }

    // ---- functions

    struct Scope { std::map<std::string, int> single, ranges; };  // ranges: prefix -> number of the first register

    void function(bool is_kernel) {
        Function f;
        f.is_kernel = is_kernel;
        f.line = lex_.line();
        if (lex_.accept("(")) f.returns = parameter_list();
        f.name = lex_.take();
        if (lex_.accept("(")) f.parameters = parameter_list();
        for (;;) {
            if (lex_.accept(".maxntid")) dimensions(f.max_threads);
            else if (lex_.accept(".reqntid")) dimensions(f.required_threads);
            else if (lex_.accept(".minnctapersm") || lex_.accept(".maxnreg") || lex_.accept(".maxclusterrank")) lex_.take();
            else if (lex_.accept(".reqnctapercluster")) { uint32_t unused[3]; dimensions(unused); }
            else if (lex_.accept(".noreturn") || lex_.accept(".explicitcluster")) continue;
            else if (lex_.accept(".pragma")) skip_statement();
            else break;
        }
        if (!lex_.accept(";")) body(f);
        Function& slot = program_.functions[f.name];
        if (!slot.is_defined) slot = std::move(f);
    }

    std::vector<Variable> parameter_list() {
        std::vector<Variable> list;
        if (lex_.accept(")")) return list;
        do {
            if (!lex_.accept(".param")) lex_.fail("expected .param (register parameters are not supported)");
            list.push_back(declaration(Space::Param));
        } while (lex_.accept(","));
        lex_.expect(")");
        return list;
    }

    void dimensions(uint32_t (&d)[3]) {
        d[0] = d[1] = d[2] = 1;
        for (int i = 0; i < 3; ++i) {
            d[i] = static_cast<uint32_t>(number());
            if (!lex_.accept(",")) break;
        }
    }

    void body(Function& f) {
        f.is_defined = true;
        function_ = &f;
        scopes_.assign(1, {});
        open_.assign(1, 0);
        f.scope_parents.assign(1, 0);
        file_ = source_line_ = inlined_ = 0;
        callers_.clear();
        lex_.expect("{");
        while (!open_.empty()) {
            if (lex_.accept("{")) {
                f.scope_parents.push_back(open_.back());
                open_.push_back(static_cast<uint32_t>(f.scope_parents.size() - 1));
                scopes_.emplace_back();
            } else if (lex_.accept("}")) {
                open_.pop_back();
                scopes_.pop_back();
            } else body_item(f);
        }
    }

    void body_item(Function& f) {
        if (lex_.accept(".loc")) location();
        else if (lex_.accept(".reg")) registers(f);
        else if (lex_.accept(".pragma") || lex_.accept(".noreturn") || lex_.accept(".callprototype")) skip_statement();
        else if (auto space = variable_space(); space) {
            lex_.advance();
            for (Variable& v : variables(*space)) f.variables.push_back(std::move(v));
        } else if (lex_.is("@") || lex_.front() != '.') statement(f);
        else lex_.fail("unknown directive");
    }

    void location() {
        Location at = position();
        Location caller{};
        while (lex_.accept(",")) {  // function_name label {+ n}, inlined_at file line column
            std::string word = lex_.take();
            if (word == "inlined_at") caller = position();
            else {
                lex_.take();
                if (lex_.accept("+")) lex_.take();
            }
        }
        file_ = at[0], source_line_ = at[1];
        callers_[at] = caller;
        inlined_ = chain_of(at);
    }

    Location position() {
        Location l;
        for (uint32_t& part : l) part = static_cast<uint32_t>(number());
        return l;
    }

    // Who inlined the code there, innermost first. The compiler gives every level one .loc of its own, before those inside.
    uint32_t chain_of(Location at) {
        std::vector<Location> chain;
        while (chain.size() < 8 && callers_[at][0]) chain.push_back(at = callers_[at]);
        auto [it, is_new] = chain_index_.try_emplace(chain, static_cast<uint32_t>(program_.chains.size()));
        if (is_new) program_.chains.push_back(chain);
        return it->second;
    }

    void registers(Function& f) {
        int bits = type_bits(lex_.take());
        do {
            std::string name = lex_.take();
            int first = static_cast<int>(f.register_bits.size());
            if (lex_.accept("<")) {
                f.register_bits.resize(f.register_bits.size() + number(), bits);
                lex_.expect(">");
                scopes_.back().ranges[name] = first;
            } else {
                f.register_bits.push_back(bits);
                scopes_.back().single[name] = first;
            }
        } while (lex_.accept(","));
        lex_.expect(";");
    }

    int find_register(const std::string& name) const {
        size_t digits = name.size();
        while (digits > 0 && std::isdigit(static_cast<unsigned char>(name[digits - 1]))) --digits;
        for (size_t s = scopes_.size(); s-- > 0;) {
            if (auto it = scopes_[s].single.find(name); it != scopes_[s].single.end()) return it->second;
            if (digits == name.size()) continue;
            if (auto it = scopes_[s].ranges.find(name.substr(0, digits)); it != scopes_[s].ranges.end()) return it->second + std::atoi(name.c_str() + digits);
        }
        return -1;
    }

    void statement(Function& f) {
        Statement s;
        s.scope = open_.back();
        s.file = file_, s.source_line = source_line_, s.inlined = inlined_;
        if (lex_.accept("@")) {
            s.guard_negated = lex_.accept("!");
            s.guard = find_register(lex_.take());
            if (s.guard < 0) lex_.fail("unknown guard predicate");
        }
        s.line = lex_.line();
        std::string word = lex_.take();
        if (s.guard < 0 && lex_.accept(":")) {
            label(f, word, s.scope);
            return;
        }
        for (size_t at = 0; at != word.npos;) {
            size_t dot = word.find('.', at);
            s.opcode.push_back(word.substr(at, dot == word.npos ? dot : dot - at));
            at = dot == word.npos ? dot : dot + 1;
        }
        if (!lex_.accept(";")) {
            do s.operands.push_back(operand()); while (lex_.accept(","));
            lex_.expect(";");
        }
        f.body.push_back(std::move(s));
    }

    void label(Function& f, const std::string& name, uint32_t scope) {
        if (lex_.accept(".branchtargets")) {
            auto& targets = f.tables[{scope, name}];
            do targets.push_back(lex_.take()); while (lex_.accept(","));
            lex_.expect(";");
        } else if (lex_.accept(".callprototype")) skip_statement();
        else f.labels[{scope, name}] = static_cast<uint32_t>(f.body.size());
    }

    Operand operand() {
        Operand o;
        if (lex_.accept("[")) return address();
        if (lex_.is("{") || lex_.is("(")) return list();
        if (lex_.is("-") || std::isdigit(static_cast<unsigned char>(lex_.front()))) return immediate();
        if (lex_.accept("!")) o.negated = true;
        std::string name = lex_.take();
        if (name != "_") {
            o.reg = find_register(name);
            o.kind = o.reg >= 0 ? Operand::Kind::Register : Operand::Kind::Symbol;
            o.name = name;
        }
        if (lex_.accept("|")) {
            std::string second = lex_.take();
            o.second = second == "_" ? -1 : find_register(second);
        }
        if (o.kind == Operand::Kind::Symbol && lex_.accept("+")) o.bits = immediate().bits;
        return o;
    }

    Operand list() {
        Operand o;
        o.kind = lex_.is("{") ? Operand::Kind::Vector : Operand::Kind::List;
        std::string_view close = lex_.accept("{") ? "}" : (lex_.expect("("), ")");
        if (!lex_.is(close)) do o.elements.push_back(operand()); while (lex_.accept(","));
        lex_.expect(close);
        return o;
    }

    Operand address() {
        Operand o;
        if (lex_.is("-") || std::isdigit(static_cast<unsigned char>(lex_.front()))) o = immediate();
        else {
            o.name = lex_.take();
            o.reg = find_register(o.name);
            o.has_base = true;
            if (lex_.accept("+")) o.bits = immediate().bits;
            else if (lex_.is("-")) o.bits = immediate().bits;
        }
        if (lex_.accept(",")) o.elements = list().elements;  // coordinates in a tensor
        o.kind = Operand::Kind::Address;
        lex_.expect("]");
        return o;
    }

    Lexer lex_;
    Program program_;
    Function* function_ = nullptr;
    std::vector<Scope> scopes_;
    std::vector<uint32_t> open_;
    uint32_t file_ = 0, source_line_ = 0, inlined_ = 0;
    std::map<Location, Location> callers_;
    std::map<std::vector<Location>, uint32_t> chain_index_{{{}, 0}};
};

}  // namespace

uint32_t Function::label(const std::string& label, uint32_t scope, uint32_t at_line) const {
    for (uint32_t s = scope;; s = scope_parents[s]) {
        if (auto it = labels.find({s, label}); it != labels.end()) return it->second;
        if (s == 0) throw Error(at_line, "unknown label '" + label + "'");
    }
}

Program parse(std::string_view text) { return Parser(text).run(); }

}  // namespace kf::ptx
