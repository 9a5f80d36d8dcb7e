// world.cpp - queues of streams, the choice of what runs next, and the order that is known between operations.
#include "world.h"

#include <chrono>
#include <cstdlib>

#include "calls.h"

namespace kf {
namespace {

constexpr const char* setting_names[] = {"order", "seed", "checks", "single_lanes", "threads", "count", "cover", "allow_unwritten_copies", "watchdog"};

void read_environment(World& world) {
    for (const char* name : setting_names) {
        std::string variable = std::string("KF_EMULATOR_") + name;
        for (char& c : variable) c = char(std::toupper(c));
        if (const char* value = std::getenv(variable.c_str())) apply_setting(world, name, value);
    }
}

}  // namespace

double now_milliseconds() {
    return std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

World& World::get() {
    static World* world = new World;
    return *world;
}

World::World() {
    devices.push_back({0, Architecture::Sm80, "KernelForge emulated sm_80"});
    devices.push_back({1, Architecture::Sm90, "KernelForge emulated sm_90"});
    read_environment(*this);
}

void World::set_seed(uint64_t seed) {
    settings.seed = seed;
    random_.seed(seed);
}

uint32_t World::take_lane() {
    if (free_lanes_.empty()) return lanes_++;
    uint32_t lane = free_lanes_.back();
    free_lanes_.pop_back();
    return lane;
}

CUresult World::submit(CUstream stream, Task task, std::vector<CompletionPtr> extra) {
    if (stream->capture) return record(stream, std::move(task));
    enqueue(stream, std::move(task), std::move(extra));
    return CUDA_SUCCESS;
}

CompletionPtr World::enqueue(CUstream stream, Task task, std::vector<CompletionPtr> extra) {
    Work work{std::move(task), std::move(extra), host_};
    work.sequence = ++sequence_;
    // The default stream and the blocking ones of its context wait for each other.
    if (stream->is_default()) {
        for (CUstream other : scheduled_)
            if (other->context == stream->context && other != stream && other->is_blocking() && other->last) work.after.push_back(other->last);
    } else if (stream->is_blocking() && stream->context->default_stream->last) {
        work.after.push_back(stream->context->default_stream->last);
    }
    stream->last = work.completion;
    stream->queue.push_back(std::move(work));
    return stream->last;
}

CUstream World::choose() {
    std::vector<CUstream> ready;
    for (CUstream stream : scheduled_)
        if (!stream->queue.empty() && std::ranges::all_of(stream->queue.front().after, [](const CompletionPtr& c) { return c->done; })) ready.push_back(stream);
    if (ready.empty()) return nullptr;
    if (settings.order == Settings::Order::Random) return ready[random_() % ready.size()];
    auto by_age = [](CUstream a, CUstream b) { return a->queue.front().sequence < b->queue.front().sequence; };
    return settings.order == Settings::Order::Fifo ? *std::ranges::min_element(ready, by_age) : *std::ranges::max_element(ready, by_age);
}

bool World::advance() {
    CUstream stream = choose();
    if (!stream) return false;
    execute(stream);
    return true;
}

void World::execute(CUstream stream) {
    Work work = std::move(stream->queue.front());
    stream->queue.pop_front();
    join(stream->clock, *work.host);
    for (const CompletionPtr& earlier : work.after) join(stream->clock, earlier->clock);

    std::optional<Fault> fault;
    if (work.task.run || work.task.function) {
        auto [entry, is_new] = label_ids_.try_emplace(work.task.label, uint32_t(labels_.size()));
        if (is_new) labels_.push_back(work.task.label);
        uint32_t operation = uint32_t(operations_.size());
        operations_.push_back({entry->second, stream->lane, stream->id});
        running_ = stream->clock;
        fault = perform(work.task, operation);
        if (stream->clock.size() <= stream->lane) stream->clock.resize(stream->lane + 1);
        stream->clock[stream->lane] = operation;
    }
    work.completion->clock = stream->clock;
    work.completion->milliseconds = now_milliseconds();
    work.completion->done = true;
    if (fault) poison(stream->context, *fault, text("%s on stream %lu", work.task.label.c_str(), stream->id));
}

std::optional<Fault> World::perform(Task& task, uint32_t operation) {
    if (!task.function) return task.run(operation);
    task.launch.operation = operation;
    task.launch.ordering = this;
    task.launch.watchdog_instructions = watchdog;
    Counters* counts = settings.count ? &counters[task.function->info->name] : nullptr;
    return run(task.launch, heap, settings, counts);
}

void World::poison(CUcontext context, const Fault& fault, const std::string& label) {
    report = text("%s\n%s", label.c_str(), fault.report.c_str());
    context->failure = CUresult(fault.result);
    for (CUstream stream : scheduled_) {
        if (stream->context != context) continue;
        for (Work& work : stream->queue) work.completion->done = true;
        stream->queue.clear();
    }
}

void World::finish(const CompletionPtr& completion) {
    while (!completion->done && advance()) {}
}

void World::wait(const CompletionPtr& completion) {
    finish(completion);
    host_saw(*completion);
}

void World::wait(CUstream stream) {
    if (stream->last) wait(stream->last);
}

void World::wait_all() {
    while (advance()) {}
    for (CUstream stream : scheduled_)
        if (stream->last) host_saw(*stream->last);
}

void World::host_saw(const Completion& completion) {
    Clock seen = *host_;
    join(seen, completion.clock);
    if (seen != *host_) host_ = std::make_shared<Clock>(std::move(seen));
}

bool World::is_before(uint32_t earlier, uint32_t later) const {
    uint32_t lane = operations_[earlier].lane;
    if (later < operations_.size() && operations_[later].lane == lane) return earlier < later;
    return lane < running_.size() && running_[lane] >= earlier;
}

std::string World::describe(uint32_t operation) const {
    if (operation == 0 || operation >= operations_.size()) return "no operation";
    const Operation& o = operations_[operation];
    return text("%s on stream %lu", labels_[o.label].c_str(), o.stream);
}

}  // namespace kf
