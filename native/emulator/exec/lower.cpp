// lower.cpp - from statements to code: inline calls, decode, find out what lives where, give registers slots, and module look-ups.
#include <algorithm>
#include <set>

#include "builder.h"
#include "warp.h"

namespace kf {
namespace {

uint64_t align_up(uint64_t value, uint64_t alignment) { return (value + alignment - 1) / alignment * alignment; }

// All bodies of a kernel in one list: registers renumbered, labels turned into statement indices, calls replaced by the callee.
class Flattener {
public:
    Flattener(const ptx::Program& program, Unit& unit) : program_(program), unit_(unit) {}

    std::vector<ptx::Statement> statements;
    std::vector<std::vector<uint32_t>> targets;  // per statement, of branches
    uint64_t local_bytes = 0, shared_bytes = 0;

    void kernel(const ptx::Function& f) {
        uint64_t offset = 0;
        std::map<std::string, std::string> names;
        for (const ptx::Variable& v : program_.variables) declare_shared(v, v.name);
        for (const ptx::Variable& p : f.parameters) {
            offset = align_up(offset, p.alignment);
            unit_.symbols[p.name] = {ptx::Space::Param, offset};
            offset += p.bytes;
        }
        body(f, names, 0);
        emit_plain(f, "exit");
        uint64_t dynamic = align_up(shared_bytes, dynamic_shared_alignment);
        for (auto& [name, address] : unit_.symbols)
            if (address.space == ptx::Space::Shared && address.value == ~0ull) address.value = shared_bytes ? dynamic : 0;
    }

private:
    void declare_shared(const ptx::Variable& v, const std::string& name) {
        if (v.space != ptx::Space::Shared) return;
        if (v.bytes == 0) {
            unit_.symbols[name] = {v.space, ~0ull};
            return;
        }
        shared_bytes = align_up(shared_bytes, v.alignment);
        unit_.symbols[name] = {v.space, shared_bytes};
        shared_bytes += v.bytes;
    }

    void declare_local(const ptx::Variable& v, const std::string& name) {
        local_bytes = align_up(local_bytes, std::max(v.alignment, 8u));
        unit_.symbols[name] = {ptx::Space::Local, local_bytes};
        local_bytes += v.bytes;
    }

    void emit_plain(const ptx::Function& f, const std::string& opcode) {
        ptx::Statement s;
        s.opcode = {opcode};
        s.line = f.body.empty() ? f.line : f.body.back().line;
        if (!f.body.empty()) s.file = f.body.back().file, s.source_line = f.body.back().source_line, s.inlined = f.body.back().inlined;
        statements.push_back(s);
        targets.emplace_back();
    }

    void rename(ptx::Operand& o, int base, const std::map<std::string, std::string>& names) const {
        if (o.reg >= 0) o.reg += base;
        if (o.second >= 0) o.second += base;
        if (auto it = names.find(o.name); o.reg < 0 && it != names.end()) o.name = it->second;
        for (ptx::Operand& e : o.elements) rename(e, base, names);
    }

    // names: the function's parameters -> variables of the caller.
    void body(const ptx::Function& f, std::map<std::string, std::string> names, int depth) {
        if (depth > 16) throw ptx::Error(f.line, "'" + f.name + "' calls itself: recursion is not supported");
        std::string suffix = depth ? "#" + std::to_string(++instance_) : "";
        int base = static_cast<int>(unit_.register_bits.size());
        unit_.register_bits.insert(unit_.register_bits.end(), f.register_bits.begin(), f.register_bits.end());
        std::map<std::string, uint64_t> largest;
        for (const ptx::Variable& v : f.variables) largest[v.name] = std::max(largest[v.name], v.bytes);
        for (const ptx::Variable& v : f.variables) {
            if (names.contains(v.name)) continue;
            names[v.name] = v.name + suffix;
            if (v.space == ptx::Space::Shared) declare_shared(v, v.name + suffix);
            else {
                ptx::Variable whole = v;
                whole.bytes = largest[v.name];
                declare_local(whole, v.name + suffix);
            }
        }

        std::vector<uint32_t> place(f.body.size() + 1);
        std::vector<std::pair<size_t, size_t>> returns;  // statements that become branches to the end
        std::vector<std::pair<size_t, std::vector<uint32_t>>> branches;
        for (size_t k = 0; k < f.body.size(); ++k) {
            place[k] = static_cast<uint32_t>(statements.size());
            ptx::Statement s = f.body[k];
            if (s.guard >= 0) s.guard += base;
            if (s.opcode[0] == "call") {
                call(f, s, base, names, depth);
                continue;
            }
            std::vector<uint32_t> at;
            if (s.opcode[0] == "bra") {
                at.push_back(f.label(s.operands.at(0).name, s.scope, s.line));
                s.operands.clear();
            } else if (s.opcode[0] == "brx") {
                for (uint32_t scope = s.scope;; scope = f.scope_parents[scope]) {
                    if (auto it = f.tables.find({scope, s.operands.at(1).name}); it != f.tables.end()) {
                        for (const std::string& label : it->second) at.push_back(f.label(label, s.scope, s.line));
                        break;
                    }
                    if (scope == 0) throw ptx::Error(s.line, "unknown branch table '" + s.operands.at(1).name + "'");
                }
                s.operands.resize(1);
            } else if (s.opcode[0] == "ret" && depth) {
                s.opcode = {"bra"};
                at.push_back(static_cast<uint32_t>(f.body.size()));
            }
            for (ptx::Operand& o : s.operands) rename(o, base, names);
            if (!at.empty()) branches.emplace_back(statements.size(), at);
            statements.push_back(std::move(s));
            targets.emplace_back();
        }
        place[f.body.size()] = static_cast<uint32_t>(statements.size());
        for (auto& [statement, at] : branches)
            for (uint32_t t : at) targets[statement].push_back(place[t]);
    }

    void call(const ptx::Function& caller, const ptx::Statement& s, int base, const std::map<std::string, std::string>& names, int depth) {
        std::vector<const ptx::Operand*> lists;
        std::string name;
        for (const ptx::Operand& o : s.operands) {
            if (o.kind == ptx::Operand::Kind::List) lists.push_back(&o);
            else if (name.empty()) name = o.name;
        }
        bool returns = !s.operands.empty() && s.operands[0].kind == ptx::Operand::Kind::List;
        if (name == "__assertfail") {
            ptx::Statement trap = s;
            trap.opcode = {"trap", "assert"};
            trap.operands.clear();
            statements.push_back(trap);
            targets.emplace_back();
            return;
        }
        auto it = program_.functions.find(name);
        if (it == program_.functions.end() || !it->second.is_defined) throw ptx::Error(s.line, "call of unknown function '" + name + "'");
        if (s.guard >= 0) throw ptx::Error(s.line, "a guarded call is not supported");
        std::map<std::string, std::string> bound;
        auto bind = [&](const std::vector<ptx::Variable>& formal, const ptx::Operand& actual) {
            if (formal.size() != actual.elements.size()) throw ptx::Error(s.line, "call of '" + name + "' with " + std::to_string(actual.elements.size()) + " values, expected " + std::to_string(formal.size()));
            for (size_t k = 0; k < formal.size(); ++k) {
                auto variable = names.find(actual.elements[k].name);
                if (variable == names.end()) throw ptx::Error(s.line, "call of '" + name + "': '" + actual.elements[k].name + "' is no variable");
                bound[formal[k].name] = variable->second;
            }
        };
        size_t next = 0;
        if (returns) bind(it->second.returns, *lists[next++]);
        if (next < lists.size()) bind(it->second.parameters, *lists[next]);
        body(it->second, bound, depth + 1);
        (void)caller, (void)base;
    }

    const ptx::Program& program_;
    Unit& unit_;
    int instance_ = 0;
};

using Bits = std::vector<uint64_t>;

// Slots for virtual registers: liveness over the drafts, then a linear scan over one interval per register.
class SlotAllocation {
public:
    explicit SlotAllocation(Unit& unit) : unit_(unit), drafts_(unit.drafts), slot(unit.register_bits.size(), none) {
        find_blocks();
        find_liveness();
        find_intervals();
        scan();
    }

    uint32_t bytes = 0, most_live = 0;  // most_live in 32-bit slots

private:
    Unit& unit_;
    std::vector<Draft>& drafts_;

public:
    std::vector<uint32_t> slot;  // byte offset by register number

private:
    struct BasicBlock { uint32_t first, last; std::vector<uint32_t> next; Bits in, out; };

    void find_blocks() {
        std::set<uint32_t> starts{0};
        for (uint32_t k = 0; k < drafts_.size(); ++k) {
            starts.insert(drafts_[k].targets.begin(), drafts_[k].targets.end());
            if (!drafts_[k].targets.empty() || drafts_[k].ends) starts.insert(k + 1);
        }
        starts.erase(static_cast<uint32_t>(drafts_.size()));
        std::map<uint32_t, uint32_t> number;
        for (uint32_t s : starts) {
            if (!blocks_.empty()) blocks_.back().last = s - 1;
            number[s] = static_cast<uint32_t>(blocks_.size());
            blocks_.push_back({s, static_cast<uint32_t>(drafts_.size()) - 1, {}, {}, {}});
        }
        for (BasicBlock& b : blocks_) {
            const Draft& last = drafts_[b.last];
            for (uint32_t t : last.targets)
                if (t < drafts_.size()) b.next.push_back(number[t]);
            bool falls = !last.ends || last.instruction.guard != none;
            if (falls && b.last + 1 < drafts_.size()) b.next.push_back(number[b.last + 1]);
        }
    }

    void find_liveness() {
        size_t words = (unit_.register_bits.size() + 63) / 64;
        std::vector<Bits> use(blocks_.size(), Bits(words)), def(blocks_.size(), Bits(words));
        for (size_t b = 0; b < blocks_.size(); ++b) {
            blocks_[b].in.assign(words, 0), blocks_[b].out.assign(words, 0);
            for (uint32_t k = blocks_[b].first; k <= blocks_[b].last; ++k) {
                for (uint32_t r : drafts_[k].used)
                    if (!(def[b][r / 64] >> (r % 64) & 1)) use[b][r / 64] |= 1ull << (r % 64);
                for (uint32_t r : drafts_[k].defined) def[b][r / 64] |= 1ull << (r % 64);
            }
        }
        for (bool changed = true; changed;) {
            changed = false;
            for (size_t b = blocks_.size(); b-- > 0;) {
                BasicBlock& block = blocks_[b];
                for (size_t w = 0; w < words; ++w) {
                    uint64_t out = 0;
                    for (uint32_t n : block.next) out |= blocks_[n].in[w];
                    uint64_t in = use[b][w] | (out & ~def[b][w]);
                    changed |= in != block.in[w];
                    block.out[w] = out, block.in[w] = in;
                }
            }
        }
    }

    void find_intervals() {
        first_.assign(unit_.register_bits.size(), none);
        last_.assign(unit_.register_bits.size(), 0);
        auto touch = [&](uint32_t r, uint32_t at) {
            first_[r] = std::min(first_[r], at);
            last_[r] = std::max(last_[r], at);
        };
        for (const BasicBlock& b : blocks_) {
            for (size_t r = 0; r < unit_.register_bits.size(); ++r) {
                if (b.in[r / 64] >> (r % 64) & 1) touch(static_cast<uint32_t>(r), b.first);
                if (b.out[r / 64] >> (r % 64) & 1) touch(static_cast<uint32_t>(r), b.last + 1);
            }
            for (uint32_t k = b.first; k <= b.last; ++k) {
                for (uint32_t r : drafts_[k].used) touch(r, k);
                for (uint32_t r : drafts_[k].defined) touch(r, k);
            }
        }
    }

    // A slot is free for an instruction after its last reader: a destination never shares a slot with a source, except its own register.
    void scan() {
        std::vector<uint32_t> order;
        for (uint32_t r = 0; r < first_.size(); ++r)
            if (first_[r] != none) order.push_back(r);
        std::stable_sort(order.begin(), order.end(), [&](uint32_t x, uint32_t y) { return first_[x] < first_[y]; });

        std::map<int, std::vector<uint32_t>> free;
        std::set<std::pair<uint32_t, uint32_t>> active;  // (last, register)
        uint32_t predicates = 0, live = 0;
        std::vector<uint32_t> predicate_registers;
        auto weight = [](int bits) { return bits == 1 ? 0u : bits == 64 ? 2u : bits == 128 ? 4u : 1u; };
        for (uint32_t r : order) {
            while (!active.empty() && active.begin()->first < first_[r]) {
                uint32_t ended = active.begin()->second;
                free[unit_.register_bits[ended]].push_back(slot[ended]);
                live -= weight(unit_.register_bits[ended]);
                active.erase(active.begin());
            }
            int bits = unit_.register_bits[r];
            auto& available = free[bits];
            if (!available.empty()) {
                slot[r] = available.back();
                available.pop_back();
            } else if (bits == 1) {
                slot[r] = predicates++ * 4;
            } else {
                slot[r] = bytes;
                bytes += static_cast<uint32_t>(bits * 4);
            }
            if (bits == 1) predicate_registers.push_back(r);
            live += weight(bits);
            most_live = std::max(most_live, live);
            active.insert({last_[r], r});
        }
        bytes = static_cast<uint32_t>(align_up(bytes, 64));
        for (uint32_t r : predicate_registers) slot[r] += bytes;
        bytes = static_cast<uint32_t>(align_up(bytes + predicates * 4, 64));
    }

    std::vector<BasicBlock> blocks_;
    std::vector<uint32_t> first_, last_;
};

const DecoderTable& all_decoders() {
    static const DecoderTable table = [] {
        DecoderTable all;
        for (const DecoderTable* t : {&arithmetic_decoders(), &bit_decoders(), &compare_decoders(), &convert_decoders(), &memory_decoders(), &atomic_decoders(),
                                      &control_decoders(), &collective_decoders(), &matrix_decoders(), &async_decoders(), &warpgroup_decoders()})
            all.insert(t->begin(), t->end());
        return all;
    }();
    return table;
}

KernelInfo describe(const ptx::Function& f) {
    KernelInfo info;
    info.name = f.name;
    uint64_t offset = 0;
    for (const ptx::Variable& p : f.parameters) {
        offset = align_up(offset, p.alignment);
        info.parameters.push_back({static_cast<uint32_t>(offset), static_cast<uint32_t>(p.bytes), p.alignment});
        offset += p.bytes;
    }
    info.parameter_bytes = static_cast<uint32_t>(offset);
    info.max_threads = {f.max_threads[0], f.max_threads[1], f.max_threads[2]};
    info.required_threads = {f.required_threads[0], f.required_threads[1], f.required_threads[2]};
    return info;
}

void decode(Unit& unit, const Flattener& flat) {
    std::vector<uint32_t> first(flat.statements.size() + 1);
    for (size_t k = 0; k < flat.statements.size(); ++k) {
        first[k] = static_cast<uint32_t>(unit.drafts.size());
        Builder b(unit, flat.statements[k]);
        for (uint32_t t : flat.targets[k]) b.target(t);
        auto decoder = all_decoders().find(flat.statements[k].opcode[0]);
        if (decoder == all_decoders().end()) b.unknown();
        decoder->second(b);
    }
    first.back() = static_cast<uint32_t>(unit.drafts.size());
    for (Draft& d : unit.drafts)
        for (uint32_t& t : d.targets) t = first[t];
}

void patch(uint32_t& operand, const std::vector<uint32_t>& slot) {
    if (operand != none && !(operand & 1)) operand = slot[operand / 2] == none ? 0 : slot[operand / 2];
}

// The 32-bit registers of every instruction, for kernels whose products run on while their registers must not be touched.
void note_touches(Code& code, const Unit& unit, const SlotAllocation& allocation) {
    if (std::none_of(unit.drafts.begin(), unit.drafts.end(), [](const Draft& d) { return d.kind == ProductClass; })) return;
    auto note = [&](const std::vector<uint32_t>& registers, bool writes) {
        for (uint32_t r : registers)
            if (unit.register_bits[r] == 32 && allocation.slot[r] != none) code.touches.push_back({allocation.slot[r], r, writes});
    };
    for (const Draft& d : unit.drafts) {
        code.first_touch.push_back(static_cast<uint32_t>(code.touches.size()));
        note(d.used, false);
        note(d.defined, true);
    }
    code.first_touch.push_back(static_cast<uint32_t>(code.touches.size()));
    code.register_count = static_cast<uint32_t>(unit.register_bits.size());
}

void finish(Code& code, Unit& unit, const SlotAllocation& allocation) {
    std::map<std::string, uint32_t> opcode_index;
    code.lists.reserve(unit.drafts.size());
    for (Draft& d : unit.drafts) {
        Instruction i = d.instruction;
        for (uint32_t* operand : {&i.d, &i.a, &i.b, &i.c, &i.guard}) patch(*operand, allocation.slot);
        for (uint32_t& operand : d.more) patch(operand, allocation.slot);
        if (!d.targets.empty()) i.target = d.targets[0];
        if (d.targets.size() > 1) d.more = d.targets;
        if (!d.more.empty()) {
            code.lists.push_back(std::move(d.more));
            i.more = code.lists.back().data();
        }
        std::string opcode = d.statement->text();
        auto [it, is_new] = opcode_index.try_emplace(opcode, static_cast<uint32_t>(code.opcodes.size()));
        if (is_new) code.opcodes.push_back(opcode);
        code.instructions.push_back(i);
        code.places.push_back({d.statement->file, d.statement->source_line, d.statement->line, it->second, d.statement->inlined, d.kind, d.products});
    }
    size_t size = align_up(unit.constants.size() + 64, 64);
    code.constants.reset(static_cast<char*>(std::aligned_alloc(64, size)));
    std::memcpy(code.constants.get(), unit.constants.data(), unit.constants.size());
    code.covered = std::make_unique<uint8_t[]>(code.instructions.size());
}

}  // namespace

std::unique_ptr<Code> lower(const ptx::Program& program, const ptx::Function& kernel, const LoadedModule& module) {
    Unit unit;
    for (const auto& [name, symbol] : module.symbols) unit.symbols[name] = {ptx::Space::Global, symbol.address};
    Flattener flat(program, unit);
    flat.kernel(kernel);
    decode(unit, flat);
    SlotAllocation allocation(unit);

    auto code = std::make_unique<Code>();
    code->info = describe(kernel);
    code->info.static_shared_bytes = code->shared_bytes = static_cast<uint32_t>(flat.shared_bytes);
    code->info.local_bytes = static_cast<uint32_t>(align_up(flat.local_bytes, 16));
    code->info.registers = allocation.most_live;
    code->register_bytes = allocation.bytes;
    note_touches(*code, unit, allocation);
    finish(*code, unit, allocation);
    return code;
}

std::unique_ptr<Module> Module::parse(const char* text, Heap& heap, int device, std::string& log) {
    try {
        ptx::Program program = ptx::parse(text);
        auto module = std::make_unique<LoadedModule>(heap);
        module->version_number = program.version;
        module->target_name = program.target;
        module->files = program.files;
        module->chains = program.chains;
        for (const ptx::Variable& v : program.variables) {
            if (v.space != ptx::Space::Global && v.space != ptx::Space::Const) continue;
            if (v.bytes == 0) throw ptx::Error(0, "variable '" + v.name + "' is not defined in this module");
            uint64_t address = heap.allocate(v.bytes, device, v.name.c_str());
            if (!address) throw ptx::Error(0, "no room for variable '" + v.name + "'");
            module->symbols[v.name] = {address, v.bytes};
            std::memset(reinterpret_cast<void*>(address), 0, v.bytes);
            std::memcpy(reinterpret_cast<void*>(address), v.initial.data(), std::min<uint64_t>(v.initial.size(), v.bytes));
            heap.mark_written(address, v.bytes, 0);
        }
        for (const ptx::Variable& v : program.variables)
            for (const auto& [offset, name] : v.addresses) {
                auto it = module->symbols.find(name);
                if (it == module->symbols.end()) throw ptx::Error(0, "the initial value of '" + v.name + "' names unknown '" + name + "'");
                std::memcpy(reinterpret_cast<char*>(module->symbols[v.name].address) + offset, &it->second.address, 8);
            }
        for (const auto& [name, f] : program.functions)
            if (f.is_kernel && f.is_defined) module->codes[name] = lower(program, f, *module);
        return module;
    } catch (const std::exception& e) {
        log = e.what();
        return nullptr;
    }
}

LoadedModule::~LoadedModule() {
    for (const auto& [name, symbol] : symbols) heap.release(symbol.address);
}

const KernelInfo* LoadedModule::find(const std::string& name) const {
    auto it = codes.find(name);
    return it == codes.end() ? nullptr : &it->second->info;
}

std::vector<std::string> LoadedModule::kernels() const {
    std::vector<std::string> names;
    for (const auto& [name, code] : codes) names.push_back(name);
    return names;
}

bool LoadedModule::variable(const std::string& name, uint64_t& address, uint64_t& bytes) const {
    auto it = symbols.find(name);
    if (it == symbols.end()) return false;
    address = it->second.address, bytes = it->second.bytes;
    return true;
}

std::string LoadedModule::place(const Place& p) const {
    if (!files.contains(p.file)) return "ptx line " + std::to_string(p.ptx_line);
    std::string text = line(p.file, p.line);
    for (const auto& [caller, caller_line, column] : chains[p.chain]) text += ", inlined at " + line(caller, caller_line);
    return text;
}

std::string LoadedModule::line(uint32_t file, uint32_t line) const {
    auto it = files.find(file);
    return (it == files.end() ? "file " + std::to_string(file) : it->second) + ":" + std::to_string(line);
}

std::map<std::string, bool> LoadedModule::lines() const {
    std::map<std::string, bool> result;
    for (const auto& [name, code] : codes)
        for (size_t k = 0; k < code->places.size(); ++k)
            if (const Place& p = code->places[k]; files.contains(p.file)) result[line(p.file, p.line)] |= code->covered[k] != 0;
    return result;
}

}  // namespace kf
