// ptx_sm90.cuh - the instructions that only sm_90a has: one function, one sentence each. Kernels that call them are compiled where KF_SM90A is 1.
//
// A pipeline: one thread sets the bytes that a full barrier expects and issues copies that count against them (TMA); a warpgroup waits for the barrier,
// multiplies straight from shared memory (wgmma), waits for the products and arrives at an empty barrier, which the producer waits for.
#pragma once

#ifdef __CUDA_ARCH_FEAT_SM90_ALL
#define KF_SM90A 1
#else
#define KF_SM90A 0
#endif

namespace kf {

// A description of a tensor in global memory and of the tile that one copy moves; the driver fills it, a kernel takes it as const __grid_constant__ TensorMap.
struct alignas(64) TensorMap {
    uint64_t opaque[16];
};

// ---- barriers in shared memory: a phase ends when all arrivals and all expected bytes are in

// Makes a barrier whose phases end after so many arrivals; others may use it after fence_mbarrier_init and a barrier of the block.
KF_INLINE void mbarrier_init(uint64_t* barrier, int arrivals) {
    asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" :: "r"(shared_address(barrier)), "r"(arrivals) : "memory");
}

// Makes barriers that this thread has initialised known to copies.
KF_INLINE void fence_mbarrier_init() { asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory"); }

// One arrival; what this thread did before is seen by those who wait.
KF_INLINE void mbarrier_arrive(uint64_t* barrier) {
    asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" :: "r"(shared_address(barrier)) : "memory");
}

// One arrival that also lets the phase wait for so many bytes more; bytes that a copy fills with zeros count.
KF_INLINE void mbarrier_arrive_expect_tx(uint64_t* barrier, int bytes) {
    asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" :: "r"(shared_address(barrier)), "r"(bytes) : "memory");
}

// Whether the phase of this parity has ended: 0 for the first, 1 for the second and for the one before the first. May sleep for a while.
KF_INLINE bool mbarrier_try_wait_parity(uint64_t* barrier, int parity) {
    uint32_t ended;
    asm volatile("{\n.reg .pred p;\nmbarrier.try_wait.parity.shared::cta.b64 p, [%1], %2;\nselp.u32 %0, 1, 0, p;\n}"
                 : "=r"(ended) : "r"(shared_address(barrier)), "r"(parity) : "memory");
    return ended != 0;
}

// Waits until the phase of this parity has ended.
KF_INLINE void mbarrier_wait(uint64_t* barrier, int parity) {
    while (!mbarrier_try_wait_parity(barrier, parity)) {}
}

// Orders this thread's ordinary accesses to shared memory before later ones of copies and wgmma; a barrier after it speaks for other threads.
KF_INLINE void fence_proxy_async() { asm volatile("fence.proxy.async.shared::cta;" ::: "memory"); }

// ---- copies of tiles (TMA)

// Fetches a tensor map ahead of its first use.
KF_INLINE void prefetch_tensormap(const TensorMap* map) { asm volatile("prefetch.tensormap [%0];" :: "l"(map) : "memory"); }

// Starts a copy of the tile whose first element has these coordinates, fastest dimension first; elements outside of the tensor become zero. The barrier counts
// the bytes of the whole tile. The destination is a multiple of 128 bytes, of 1024 where wgmma reads it swizzled.
KF_INLINE void tma_load_2d(void* destination, const TensorMap* map, uint64_t* barrier, int x, int y) {
    asm volatile("cp.async.bulk.tensor.2d.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1, {%3, %4}], [%2];"
                 :: "r"(shared_address(destination)), "l"(map), "r"(shared_address(barrier)), "r"(x), "r"(y) : "memory");
}

// tma_load_2d with three dimensions.
KF_INLINE void tma_load_3d(void* destination, const TensorMap* map, uint64_t* barrier, int x, int y, int z) {
    asm volatile("cp.async.bulk.tensor.3d.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1, {%3, %4, %5}], [%2];"
                 :: "r"(shared_address(destination)), "l"(map), "r"(shared_address(barrier)), "r"(x), "r"(y), "r"(z) : "memory");
}

// tma_load_2d with four dimensions.
KF_INLINE void tma_load_4d(void* destination, const TensorMap* map, uint64_t* barrier, int x, int y, int z, int w) {
    asm volatile("cp.async.bulk.tensor.4d.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1, {%3, %4, %5, %6}], [%2];"
                 :: "r"(shared_address(destination)), "l"(map), "r"(shared_address(barrier)), "r"(x), "r"(y), "r"(z), "r"(w) : "memory");
}

// Starts a copy of contiguous bytes, a multiple of 16 as both addresses are, which the barrier counts.
KF_INLINE void bulk_load(void* destination, const void* source, int bytes, uint64_t* barrier) {
    asm volatile("cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1], %2, [%3];"
                 :: "r"(shared_address(destination)), "l"(__cvta_generic_to_global(source)), "r"(bytes), "r"(shared_address(barrier)) : "memory");
}

// ---- products of a warpgroup: four warps from a multiple of four on, warp w has rows 16 w .. 16 w + 15
//
// A lane holds of the sums what it holds of mma_m16n8k16, eight columns after the other: sum[4 j + i] is element i of columns 8 j .. 8 j + 7. Operands in
// shared memory are tiles of rows of 64 elements (128 bytes) with the 128-byte swizzle: vector v of row r is stored at v ^ (r % 8).

// Tells wgmma that registers and shared memory it is going to read are in place; needed before the first of a chain.
KF_INLINE void wgmma_fence() { asm volatile("wgmma.fence.sync.aligned;" ::: "memory"); }

// Closes a group of products.
KF_INLINE void wgmma_commit() { asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory"); }

// Waits until at most PENDING groups, the newest ones, are unfinished; before, their sums, A registers and shared memory are not touched.
template <int PENDING> KF_INLINE void wgmma_wait() { asm volatile("wgmma.wait_group.sync.aligned %0;" :: "n"(PENDING) : "memory"); }

// Keeps values in their registers across this point, so that the compiler moves nothing between wgmma and its wait.
template <class T, int N> KF_INLINE void pin(T (&values)[N]) {
#pragma unroll
    for (int i = 0; i < N; i++) {
        if constexpr (std::is_same_v<T, float>) asm volatile("" : "+f"(values[i]) :: "memory");
        else asm volatile("" : "+r"(values[i]) :: "memory");
    }
}

// An operand whose rows run along k (Q and K of scores): 64 k at 128 bytes a row, the tile at a multiple of 1024 bytes; k step s of 16 starts 32 * s bytes further on.
KF_INLINE uint64_t k_major_descriptor(const void* tile) {
    constexpr uint64_t swizzle_128 = 1ull << 62, next_8_rows = 1024 >> 4;
    return swizzle_128 | next_8_rows << 32 | 1ull << 16 | (shared_address(tile) & 0x3ffff) >> 4;
}

// An operand whose rows run along its columns (V of outputs): 64 columns at 128 bytes a row, a row for each k, the next 64 columns next_columns bytes further on;
// k step s of 16 starts 2048 * s bytes further on.
KF_INLINE uint64_t mn_major_descriptor(const void* tile, int next_columns) {
    constexpr uint64_t swizzle_128 = 1ull << 62, next_8_k = 1024 >> 4;
    return swizzle_128 | next_8_k << 32 | (uint64_t)(next_columns >> 4) << 16 | (shared_address(tile) & 0x3ffff) >> 4;
}

#define KF_NAMES_32 "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, %16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31"
#define KF_NAMES_48 KF_NAMES_32 ", %32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47"
#define KF_NAMES_64 KF_NAMES_48 ", %48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63"
#define KF_NAMES_96                                                                                                                       \
    KF_NAMES_64 ", %64, %65, %66, %67, %68, %69, %70, %71, %72, %73, %74, %75, %76, %77, %78, %79, %80, %81, %82, %83, %84, %85, %86, %87" \
                ", %88, %89, %90, %91, %92, %93, %94, %95"
#define KF_NAMES_128                                                                                                                            \
    KF_NAMES_96 ", %96, %97, %98, %99, %100, %101, %102, %103, %104, %105, %106, %107, %108, %109, %110, %111, %112, %113, %114, %115, %116, %117" \
                ", %118, %119, %120, %121, %122, %123, %124, %125, %126, %127"
#define KF_SUMS_8(i) "+f"(sum[i]), "+f"(sum[i + 1]), "+f"(sum[i + 2]), "+f"(sum[i + 3]), "+f"(sum[i + 4]), "+f"(sum[i + 5]), "+f"(sum[i + 6]), "+f"(sum[i + 7])
#define KF_SUMS_16(i) KF_SUMS_8(i), KF_SUMS_8(i + 8)
#define KF_SUMS_32 KF_SUMS_16(0), KF_SUMS_16(16)
#define KF_SUMS_48 KF_SUMS_32, KF_SUMS_16(32)
#define KF_SUMS_64 KF_SUMS_48, KF_SUMS_16(48)
#define KF_SUMS_128 KF_SUMS_64, KF_SUMS_16(64), KF_SUMS_16(80), KF_SUMS_16(96), KF_SUMS_16(112)

// The predicate and the instruction; adds names the operand that says whether sums are added to or replaced.
#define KF_WGMMA(n, types, names, operands, adds) \
    "{\n.reg .pred p;\nsetp.ne.b32 p, " adds ", 0;\nwgmma.mma_async.sync.aligned.m64n" n "k16.f32." types " {" names "}, " operands ";\n}"

#define KF_WGMMA_SHARED(n, types, names, sums, a_name, b_name, adds_name) \
    asm volatile(KF_WGMMA(n, types, names, a_name ", " b_name ", p, 1, 1, 0, 0", adds_name) : sums : "l"(a), "l"(b), "r"((int)adds))

#define KF_WGMMA_REGISTERS(n, types, names, sums, a_names, b_name, adds_name, b_is_mn_major)                     \
    asm volatile(KF_WGMMA(n, types, names, "{" a_names "}, " b_name ", p, 1, 1, " b_is_mn_major, adds_name)     \
                 : sums : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "r"((int)adds))

// Starts sum[64][128] (+)= a[64][16] * b[16][128], both operands k-major in shared memory, b with a row for each column; without adds the sums start at +0.
template <class T> KF_INLINE void wgmma_shared(float (&sum)[64], uint64_t a, uint64_t b, bool adds) {
    if constexpr (std::is_same_v<T, half>) KF_WGMMA_SHARED("128", "f16.f16", KF_NAMES_64, KF_SUMS_64, "%64", "%65", "%66");
    else KF_WGMMA_SHARED("128", "bf16.bf16", KF_NAMES_64, KF_SUMS_64, "%64", "%65", "%66");
}

// Starts sum[64][64] (+)= a[64][16] * b[16][64] with a in registers, a warp's 16 rows as in mma_m16n8k16, and b mn-major in shared memory.
template <class T> KF_INLINE void wgmma_registers(float (&sum)[32], const uint32_t (&a)[4], uint64_t b, bool adds) {
    if constexpr (std::is_same_v<T, half>) KF_WGMMA_REGISTERS("64", "f16.f16", KF_NAMES_32, KF_SUMS_32, "%32, %33, %34, %35", "%36", "%37", "1");
    else KF_WGMMA_REGISTERS("64", "bf16.bf16", KF_NAMES_32, KF_SUMS_32, "%32, %33, %34, %35", "%36", "%37", "1");
}

// wgmma_registers with 96 columns.
template <class T> KF_INLINE void wgmma_registers(float (&sum)[48], const uint32_t (&a)[4], uint64_t b, bool adds) {
    if constexpr (std::is_same_v<T, half>) KF_WGMMA_REGISTERS("96", "f16.f16", KF_NAMES_48, KF_SUMS_48, "%48, %49, %50, %51", "%52", "%53", "1");
    else KF_WGMMA_REGISTERS("96", "bf16.bf16", KF_NAMES_48, KF_SUMS_48, "%48, %49, %50, %51", "%52", "%53", "1");
}

// wgmma_registers with 128 columns.
template <class T> KF_INLINE void wgmma_registers(float (&sum)[64], const uint32_t (&a)[4], uint64_t b, bool adds) {
    if constexpr (std::is_same_v<T, half>) KF_WGMMA_REGISTERS("128", "f16.f16", KF_NAMES_64, KF_SUMS_64, "%64, %65, %66, %67", "%68", "%69", "1");
    else KF_WGMMA_REGISTERS("128", "bf16.bf16", KF_NAMES_64, KF_SUMS_64, "%64, %65, %66, %67", "%68", "%69", "1");
}

// wgmma_registers with 128 columns, and b k-major with a row for each column.
template <class T> KF_INLINE void wgmma_registers_k_major(float (&sum)[64], const uint32_t (&a)[4], uint64_t b, bool adds) {
    if constexpr (std::is_same_v<T, half>) KF_WGMMA_REGISTERS("128", "f16.f16", KF_NAMES_64, KF_SUMS_64, "%64, %65, %66, %67", "%68", "%69", "0");
    else KF_WGMMA_REGISTERS("128", "bf16.bf16", KF_NAMES_64, KF_SUMS_64, "%64, %65, %66, %67", "%68", "%69", "0");
}

// wgmma_registers with 256 columns.
template <class T> KF_INLINE void wgmma_registers(float (&sum)[128], const uint32_t (&a)[4], uint64_t b, bool adds) {
    if constexpr (std::is_same_v<T, half>) KF_WGMMA_REGISTERS("256", "f16.f16", KF_NAMES_128, KF_SUMS_128, "%128, %129, %130, %131", "%132", "%133", "1");
    else KF_WGMMA_REGISTERS("256", "bf16.bf16", KF_NAMES_128, KF_SUMS_128, "%128, %129, %130, %131", "%132", "%133", "1");
}

#undef KF_WGMMA_REGISTERS
#undef KF_WGMMA_SHARED
#undef KF_WGMMA
#undef KF_SUMS_128
#undef KF_SUMS_64
#undef KF_SUMS_48
#undef KF_SUMS_32
#undef KF_SUMS_16
#undef KF_SUMS_8
#undef KF_NAMES_128
#undef KF_NAMES_96
#undef KF_NAMES_64
#undef KF_NAMES_48
#undef KF_NAMES_32

// ---- roles of warps

// Takes registers from the pool of the block until each thread of the warpgroup has REGISTERS: 24 to 256, a multiple of 8.
template <int REGISTERS> KF_INLINE void setmaxnreg_increase() { asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" :: "n"(REGISTERS)); }

// Gives registers back until each thread of the warpgroup has REGISTERS.
template <int REGISTERS> KF_INLINE void setmaxnreg_decrease() { asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" :: "n"(REGISTERS)); }

// True in one lane of the warp, always the same; all lanes take part.
KF_INLINE bool elect_one() {
    uint32_t elected;
    asm volatile("{\n.reg .pred p;\nelect.sync _|p, 0xffffffff;\nselp.u32 %0, 1, 0, p;\n}" : "=r"(elected));
    return elected != 0;
}

// A barrier of some threads of the block, a multiple of 32; id 1 to 15, 0 is that of __syncthreads.
KF_INLINE void named_barrier_sync(int id, int threads) { asm volatile("bar.sync %0, %1;" :: "r"(id), "r"(threads) : "memory"); }

// Counts as arrived at named_barrier_sync and goes on.
KF_INLINE void named_barrier_arrive(int id, int threads) { asm volatile("bar.arrive %0, %1;" :: "r"(id), "r"(threads) : "memory"); }

}  // namespace kf
