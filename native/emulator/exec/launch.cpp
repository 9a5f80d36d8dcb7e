// launch.cpp - hands the blocks of a launch to threads and sums up what they counted.
#include <condition_variable>
#include <functional>
#include <numeric>
#include <thread>

#include "memory.h"

namespace kf {
namespace {

// Threads that live as long as the process; started when first needed, never joined.
class Pool {
public:
    // Runs work(0 .. count - 1) on that many threads and waits.
    void run(int count, const std::function<void(int)>& work) {
        std::unique_lock lock(mutex_);
        idle_.wait(lock, [&] { return !work_; });
        while (threads_ < count) std::thread([this, index = threads_++] { serve(index); }).detach();
        work_ = &work;
        wanted_ = count, running_ = count;
        ++round_;
        changed_.notify_all();
        idle_.wait(lock, [&] { return running_ == 0; });
        work_ = nullptr;
        idle_.notify_all();
    }

private:
    void serve(int index) {
        uint64_t seen = 0;
        std::unique_lock lock(mutex_);
        for (;;) {
            changed_.wait(lock, [&] { return round_ != seen && work_; });
            seen = round_;
            if (index >= wanted_) continue;
            const auto* work = work_;
            lock.unlock();
            (*work)(index);
            lock.lock();
            if (--running_ == 0) idle_.notify_all();
        }
    }

    std::mutex mutex_;
    std::condition_variable changed_, idle_;
    const std::function<void(int)>* work_ = nullptr;
    int threads_ = 0, wanted_ = 0, running_ = 0;
    uint64_t round_ = 0;
};

Pool& pool() {
    static Pool* instance = new Pool;
    return *instance;
}

// Blocks in the order of the settings. Random: index * odd + start modulo a power of two, skipping what lies beyond the grid, visits each once.
class BlockOrder {
public:
    BlockOrder(uint64_t blocks, const Settings& settings) : blocks_(blocks), order_(settings.order) {
        while (size_ < blocks) size_ *= 2;
        uint64_t seed = settings.seed * 0x9E3779B97F4A7C15ull;
        multiplier_ = (seed >> 17) * 4 + 1;
        start_ = seed >> 40;
    }
    uint64_t steps() const { return order_ == Settings::Order::Random ? size_ : blocks_; }
    // Block of a step; blocks() and more when the step has none.
    uint64_t block(uint64_t step) const {
        if (order_ == Settings::Order::Fifo) return step;
        if (order_ == Settings::Order::Reverse) return blocks_ - 1 - step;
        return (step * multiplier_ + start_) & (size_ - 1);
    }

private:
    uint64_t blocks_, size_ = 1, multiplier_ = 1, start_ = 0;
    Settings::Order order_;
};

void add(Counters& to, const Counters& from) {
    to.global_bytes_read += from.global_bytes_read;
    to.global_bytes_written += from.global_bytes_written;
    to.global_sectors_read += from.global_sectors_read;
    to.global_sectors_written += from.global_sectors_written;
    to.shared_bytes_read += from.shared_bytes_read;
    to.shared_bytes_written += from.shared_bytes_written;
    to.shared_bank_conflicts += from.shared_bank_conflicts;
    to.uncoalesced_accesses += from.uncoalesced_accesses;
    for (const auto& [id, buffer] : from.buffers) {
        to.buffers[id].bytes_read += buffer.bytes_read;
        to.buffers[id].bytes_written += buffer.bytes_written;
    }
}

void sum_up(const Launch& launch, const Tally& tally, Counters* counters) {
    const Code& code = launch.code;
    for (size_t k = 0; k < code.instructions.size(); ++k) {
        if (launch.settings.cover && tally.threads[k]) code.covered[k] = 1;
        if (!counters || !launch.counting || !tally.threads[k]) continue;
        counters->thread_instructions += tally.threads[k];
        counters->warp_instructions += tally.warps[k];
        counters->opcodes[code.opcodes[code.places[k].opcode]] += tally.threads[k];
        counters->mma_instructions += tally.warps[k] * code.places[k].products;
        if (code.places[k].kind == BarrierClass) counters->barriers += tally.warps[k];
        if (code.places[k].kind == AtomicClass) counters->atomics += tally.threads[k];
    }
    if (counters && launch.counting) add(*counters, tally.memory);
}

}  // namespace

std::optional<Fault> run(const LaunchRequest& request, Heap& heap, const Settings& settings, Counters* counters) {
    const auto& module = static_cast<const LoadedModule&>(*request.module);
    const Code& code = *module.codes.at(request.kernel->name);
    Launch launch{request, module, code, heap, settings};
    launch.dynamic_base = (code.shared_bytes + dynamic_shared_alignment - 1) / dynamic_shared_alignment * dynamic_shared_alignment;
    launch.shared_bytes = request.dynamic_shared_bytes ? launch.dynamic_base + request.dynamic_shared_bytes : code.shared_bytes;
    launch.watchdog = request.watchdog_instructions ? request.watchdog_instructions : 1ull << 32;
    launch.counting = settings.count && counters;

    uint64_t blocks = request.grid.count();
    BlockOrder order(blocks, settings);
    std::mutex mutex;
    std::optional<Fault> fault;
    auto stop = [&](Fault f) {
        std::lock_guard lock(mutex);
        if (!fault) fault = std::move(f);
        launch.stopped = true;
    };
    auto work = [&](int) {
        try {
            Block block(launch);
            while (!launch.stopped) {
                uint64_t step = launch.next_block++;
                if (step >= order.steps()) break;
                if (uint64_t index = order.block(step); index < blocks) block.run(index);
            }
            std::lock_guard lock(mutex);
            sum_up(launch, block.tally, counters);
        } catch (const Stop&) {
        } catch (Fault& f) {
            stop(std::move(f));
        } catch (const std::exception& e) {
            stop({719, std::string("the emulator failed: ") + e.what()});
        }
    };
    int threads = settings.threads > 0 ? settings.threads : static_cast<int>(std::max(1u, std::thread::hardware_concurrency()));
    pool().run(static_cast<int>(std::min<uint64_t>(static_cast<uint64_t>(threads), blocks)), work);
    if (counters && launch.counting) ++counters->launches;
    return fault;
}

}  // namespace kf
