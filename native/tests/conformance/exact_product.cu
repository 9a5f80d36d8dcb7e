// exact_product.cu - cp.async, ldmatrix and mma together on numbers whose products and sums are exact, so that a misplaced element shows.
//
// Math     out[m][n] = sum over k of a[m][k] * b[n][k], F32
// Shapes   a [16, depth], b [8, depth] of T, row-major; depth a multiple of 16
// Tiling   One warp. Steps of 16 go through two stages of shared memory: the copy of step i + 1 runs during the product of step i.

#include "kf/kf.cuh"

struct ExactProductArgs {  // mirrored by ExactProductArgs in ExactProductTests.cs
    const void* a;
    const void* b;
    float* out;
    int depth;
};

constexpr int STEP = 16;             // columns of a stage, two pieces of 16 bytes
constexpr int A_ROWS = 16, B_ROWS = 8;

template <class T> struct Stage {
    alignas(16) T a[A_ROWS][STEP];
    alignas(16) T b[A_ROWS][STEP];  // 8 rows of numbers and 8 of zeros: ldmatrix_x4 reads 16
};

// Lane i copies piece i % 2 of row i / 2 of a and of b.
template <class T> KF_INLINE void start_stage(Stage<T>& stage, const ExactProductArgs& args, int first_column) {
    int row = threadIdx.x / 2, column = threadIdx.x % 2 * 8;
    bool in_b = row < B_ROWS;
    cp_async_16(shared_address(&stage.a[row][column]), (const T*)args.a + row * args.depth + first_column + column);
    cp_async_16(shared_address(&stage.b[row][column]), (const T*)args.b + (in_b ? row * args.depth + first_column + column : 0), in_b ? 16 : 0);
    cp_async_commit();
}

template <class T> KF_INLINE void add_stage(float (&sum)[4], const Stage<T>& stage) {
    uint32_t a[4], b[4];
    int lane = threadIdx.x;
    ldmatrix_x4(a, shared_address(&stage.a[lane % 16][lane / 16 * 8]));
    ldmatrix_x4(b, shared_address(&stage.b[lane / 16 * 8 + lane % 8][lane / 8 % 2 * 8]));
    mma_m16n8k16<T>(sum, a, b[0], b[1]);
}

template <class T> KF_INLINE void multiply_exactly(const ExactProductArgs& args) {
    __shared__ Stage<T> stages[2];
    float sum[4] = {};
    int steps = args.depth / STEP;
    start_stage(stages[0], args, 0);
    for (int step = 0; step < steps; step++) {
        if (step + 1 < steps) start_stage(stages[(step + 1) % 2], args, (step + 1) * STEP);
        else cp_async_commit();
        cp_async_wait<1>();
        __syncwarp();  // the copies of all lanes are there
        add_stage(sum, stages[step % 2]);
        __syncwarp();  // all lanes have read: the stage may be filled again
    }
    int row = threadIdx.x / 4, column = threadIdx.x % 4 * 2;
    for (int i = 0; i < 4; i++) args.out[(row + i / 2 * 8) * B_ROWS + column + i % 2] = sum[i];
}

extern "C" __global__ void exact_product_f16(const __grid_constant__ ExactProductArgs args) { multiply_exactly<half>(args); }

extern "C" __global__ void exact_product_bf16(const __grid_constant__ ExactProductArgs args) { multiply_exactly<bf16>(args); }
