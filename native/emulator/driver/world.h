// world.h - everything the look-alike remembers: devices, contexts, streams with their queues, events, modules, graphs.
//
// Streams are lazy. A call queues work and returns; the work runs when something waits for it, and then one operation at a time, chosen among
// all streams as Settings::order says. So a host that reads too early sees old data, and a missing event shows.
//
// What must come before what is kept twice, on purpose. Each piece of work names those it must follow (Work::after), which drives the
// choice. And each stream has a vector clock: for every lane the last operation that is known to have run before. From that the checks tell
// two unordered accesses apart from ordered ones, however they happened to run.
//
// One lock guards it all. Handles are never deleted, only taken out of their registry: a stale one is always recognised.
#pragma once

#include <algorithm>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <random>
#include <string>
#include <thread>
#include <unordered_set>
#include <vector>

#include "../engine.h"
#include "../text.h"
#include "cuda_abi.h"

#define KF_EXPORT extern "C" [[gnu::visibility("default")]]

namespace kf {

using Clock = std::vector<uint32_t>;  // by lane: the last operation known to come before

inline void join(Clock& clock, const Clock& other) {
    if (clock.size() < other.size()) clock.resize(other.size());
    for (size_t i = 0; i < other.size(); i++) clock[i] = std::max(clock[i], other[i]);
}

// Set when a piece of work has run: what an event waits for.
struct Completion {
    bool done = false;
    Clock clock;
    double milliseconds = 0;
};
using CompletionPtr = std::shared_ptr<Completion>;

// What a stream or a graph node does.
struct Task {
    CUgraphNodeType type = CU_GRAPH_NODE_TYPE_EMPTY;
    std::string label;
    std::function<std::optional<Fault>(uint32_t operation)> run;  // empty for kernels and for markers
    CUfunction function = nullptr;
    LaunchRequest launch = {};
};

struct Work {
    Task task;
    std::vector<CompletionPtr> after;
    std::shared_ptr<const Clock> host;  // what the host had waited for when it queued this
    CompletionPtr completion = std::make_shared<Completion>();
    uint64_t sequence = 0;
};

// A capture in progress; shared by the streams that joined it.
struct Capture {
    uint64_t id = 0;
    CUgraph graph = nullptr;
    CUstream origin = nullptr;
    CUstreamCaptureMode mode = CU_STREAM_CAPTURE_MODE_GLOBAL;
    std::thread::id thread;
    bool invalidated = false, ended = false;
    std::vector<CUstream> streams;
};

struct DeviceState {
    int ordinal;
    Architecture architecture;
    const char* name;
    CUcontext primary = nullptr;
    int retained = 0;
    unsigned flags = 0;
};

struct HostRange { uint64_t bytes; bool registered; CUcontext context; };
struct DeviceRange { CUcontext context; bool free_queued; };

// Handles that are alive.
template <class T>
class Registry {
public:
    template <class... Arguments>
    T* add(Arguments&&... arguments) {
        T* item = new T{std::forward<Arguments>(arguments)...};
        alive_.insert(item);
        return item;
    }
    bool has(const T* item) const { return alive_.contains(const_cast<T*>(item)); }
    void remove(T* item) { alive_.erase(item); }
    size_t count() const { return alive_.size(); }
    const std::unordered_set<T*>& all() const { return alive_; }
    std::vector<T*> of(CUcontext context) const {
        std::vector<T*> result;
        for (T* item : alive_)
            if (item->context == context) result.push_back(item);
        return result;
    }

private:
    std::unordered_set<T*> alive_;
};

class World final : public Ordering {
public:
    static World& get();  // made on first use, never destroyed

    std::mutex lock;
    bool initialised = false;
    bool allow_unwritten_copies = false;
    uint64_t watchdog = 0;  // LaunchRequest::watchdog_instructions
    Heap heap;
    Settings settings;
    std::vector<DeviceState> devices;
    Registry<CUctx_st> contexts;
    Registry<CUstream_st> streams;  // those of the user; default streams and lanes of graphs are not in here
    Registry<CUevent_st> events;
    Registry<CUmod_st> modules;
    Registry<CUgraph_st> graphs;
    Registry<CUgraphExec_st> execs;
    std::map<uint64_t, HostRange> host_ranges;      // pinned, by address
    std::map<uint64_t, DeviceRange> device_ranges;  // allocations of the user, by address
    std::vector<std::shared_ptr<Capture>> captures;
    std::map<std::string, Counters> counters;       // by kernel
    std::map<std::string, bool> lines_of_unloaded_modules;
    std::string report;                             // of the last fault or refused call

    World();
    void set_seed(uint64_t seed);

    // Queues a task on a stream, or records it where the stream captures. extra: what it must follow besides the stream's own work.
    CUresult submit(CUstream stream, Task task, std::vector<CompletionPtr> extra = {});
    CompletionPtr enqueue(CUstream stream, Task task, std::vector<CompletionPtr> extra = {});

    // Runs one operation that can run, of any stream; false when there is none.
    bool advance();
    // Runs until it is done, unseen by the host.
    void finish(const CompletionPtr& completion);
    // The same, and the host has waited for it.
    void wait(const CompletionPtr& completion);
    void wait(CUstream stream);
    void wait_all();
    void host_saw(const Completion& completion);

    uint64_t take_stream_id() { return ++stream_ids_; }
    uint32_t take_lane();
    void give_lane(uint32_t lane) { free_lanes_.push_back(lane); }
    void watch(CUstream stream) { scheduled_.push_back(stream); }    // lets the scheduler see its queue
    void unwatch(CUstream stream) { std::erase(scheduled_, stream); }

    // Drops what is queued in a context; it fails from now on.
    void poison(CUcontext context, const Fault& fault, const std::string& label);

    bool is_before(uint32_t earlier, uint32_t later) const override;
    std::string describe(uint32_t operation) const override;

private:
    struct Operation { uint32_t label, lane; uint64_t stream; };
    std::vector<CUstream> scheduled_;
    std::vector<Operation> operations_{Operation{}};
    std::vector<std::string> labels_;
    std::map<std::string, uint32_t> label_ids_;
    std::vector<uint32_t> free_lanes_;
    uint32_t lanes_ = 0;
    uint64_t sequence_ = 0, stream_ids_ = 0;
    Clock running_;  // clock of the operation that runs
    std::shared_ptr<const Clock> host_ = std::make_shared<Clock>();
    std::mt19937_64 random_{1};

    CUstream choose();
    void execute(CUstream stream);
    std::optional<Fault> perform(Task& task, uint32_t operation);
};

double now_milliseconds();

}  // namespace kf

struct CUctx_st {
    CUcontext context;  // itself: registries ask for it
    kf::DeviceState* device;
    bool is_primary;
    unsigned flags;
    CUstream default_stream = nullptr;
    std::map<std::thread::id, CUstream> thread_streams = {};
    std::map<int, size_t> limits = {};
    CUresult failure = CUDA_SUCCESS;  // once set, every call returns it
};

struct CUstream_st {
    CUcontext context;
    unsigned flags;
    int priority;
    uint64_t id;
    uint32_t lane;
    std::deque<kf::Work> queue = {};
    kf::Clock clock = {};
    kf::CompletionPtr last = nullptr;
    std::shared_ptr<kf::Capture> capture = nullptr;
    std::vector<CUgraphNode> frontier = {};  // what the next captured node depends on

    bool is_default() const { return context->default_stream == this; }
    bool is_blocking() const { return !(flags & CU_STREAM_NON_BLOCKING); }
};

struct CUevent_st {
    CUcontext context;
    unsigned flags;
    kf::CompletionPtr record = nullptr;  // null: never recorded
    std::shared_ptr<kf::Capture> capture = nullptr;
    std::vector<CUgraphNode> frontier = {};
};

struct CUmod_st {
    CUcontext context;
    std::unique_ptr<kf::Module> module;
    std::map<std::string, CUfunction> functions = {};
};

struct CUfunc_st {
    CUmodule module;
    const kf::KernelInfo* info;
    int max_dynamic_shared;
    int carveout = -1;
};

struct CUgraphNode_st {
    CUgraph graph;
    kf::Task task;
    std::vector<CUgraphNode> after;
    std::vector<void*> parameter_pointers = {};  // what GetParams hands out
};

struct CUgraph_st {
    CUcontext context;
    std::vector<CUgraphNode> nodes = {};
};

struct CUgraphExec_st {
    struct Node { CUgraphNode source; kf::Task task; std::vector<size_t> after; size_t lane; };
    CUcontext context;
    std::vector<Node> nodes = {};
    std::vector<CUstream> lanes = {};  // lane 0 is the stream it is launched on
};
