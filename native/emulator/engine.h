// engine.h - what the driver look-alike asks of the PTX engine: read a module, run a launch.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "heap.h"

namespace kf {

struct Dim3 {
    uint32_t x = 1, y = 1, z = 1;
    uint64_t count() const { return uint64_t(x) * y * z; }
};

// Which accumulation the tensor cores follow, and what the device says of itself.
enum class Architecture { Sm80 = 80, Sm90 = 90 };

// How a launch is carried out. Read when a launch starts.
struct Settings {
    enum class Order { Fifo, Reverse, Random };
    Order order = Order::Fifo;
    uint64_t seed = 1;
    bool checks = true;       // bounds are always checked; this is races and unwritten memory
    bool single_lanes = false;  // run lanes one by one between collectives, in the order above, instead of together
    int threads = 0;          // OS threads; 0 for one per core
    bool count = false;       // fill Counters
    bool cover = false;       // remember executed source lines
};

// Work of the launches of one kernel, summed. See counters in README.md.
struct Counters {
    struct Buffer { uint64_t bytes_read = 0, bytes_written = 0; };
    uint64_t launches = 0, thread_instructions = 0, warp_instructions = 0;
    uint64_t global_bytes_read = 0, global_bytes_written = 0;    // as the threads ask
    uint64_t global_sectors_read = 0, global_sectors_written = 0;  // 32-byte sectors per warp access: what the memory system moves
    uint64_t shared_bytes_read = 0, shared_bytes_written = 0, shared_bank_conflicts = 0;  // conflicts: extra wavefronts
    uint64_t uncoalesced_accesses = 0;  // warp accesses that touch more sectors than their bytes need
    uint64_t mma_instructions = 0, barriers = 0, atomics = 0;
    std::map<uint32_t, Buffer> buffers;            // by Allocation::id
    std::map<std::string, uint64_t> opcodes;       // thread instructions by opcode
};

// Which operation happens before which. Operations are numbered from 1 in the order in which they run.
class Ordering {
public:
    virtual ~Ordering() = default;
    // Whether stream order, events or a synchronisation put the earlier operation before the later one.
    virtual bool is_before(uint32_t earlier, uint32_t later) const = 0;
    // For reports, as "kernel rms_norm_f16 on stream 3".
    virtual std::string describe(uint32_t operation) const = 0;
};

struct KernelParameter { uint32_t offset, size, alignment; };

struct KernelInfo {
    std::string name;
    std::vector<KernelParameter> parameters;
    uint32_t parameter_bytes = 0;
    Dim3 max_threads{0, 0, 0};       // .maxntid, zero when not given
    Dim3 required_threads{0, 0, 0};  // .reqntid
    uint32_t static_shared_bytes = 0, local_bytes = 0;
    uint32_t registers = 0;          // an estimate: PTX has no allocation; 32-bit slots live at once
};

// A module read from PTX text. Immutable; launches of it may run at the same time.
class Module {
public:
    virtual ~Module() = default;
    // Null when the text cannot be run; log then says why, as ptxas does: "ptx line 812: unknown instruction 'foo.bar.f32'".
    // Variables of the module are allocated on the heap for the given device, and freed with the module.
    static std::unique_ptr<Module> parse(const char* text, Heap& heap, int device, std::string& log);
    virtual const KernelInfo* find(const std::string& name) const = 0;
    virtual std::vector<std::string> kernels() const = 0;
    // Address and bytes of a module variable; false when there is none.
    virtual bool variable(const std::string& name, uint64_t& address, uint64_t& bytes) const = 0;
    virtual int version() const = 0;              // of the PTX language, 84 for 8.4
    virtual std::string target() const = 0;       // "sm_90a"
    // Source lines with code, and those executed by launches with Settings::cover: "file:line" -> executed.
    virtual std::map<std::string, bool> lines() const = 0;
};

struct LaunchRequest {
    const Module* module = nullptr;
    const KernelInfo* kernel = nullptr;
    Dim3 grid, block;
    uint32_t dynamic_shared_bytes = 0;
    std::vector<uint8_t> parameters;   // parameter_bytes of them
    Architecture architecture = Architecture::Sm80;
    uint32_t operation = 0;
    const Ordering* ordering = nullptr;  // null: nothing is checked between operations
    uint64_t watchdog_instructions = 0;  // per warp, 0 for the default
};

// Why a launch stopped. The report names kernel, block, thread, source line and address.
struct Fault {
    int result;  // the CUresult that a GPU would give: 700, 716, 717, 719, 702 ...
    std::string report;
};

// Runs all blocks; returns when they are done or one failed.
std::optional<Fault> run(const LaunchRequest& request, Heap& heap, const Settings& settings, Counters* counters);

}  // namespace kf
