// silu_mul.cu - the gate of a gated MLP.
//
// Why      Llama, Mistral and Qwen gate the up projection with silu of the gate projection.
//          Shazeer, arXiv:2002.05202 (SwiGLU).
//
// Math     result = gate / (1 + e^-gate) * up, element by element, in F32, rounded once
//
// Shapes   gate, up, result   [rows, columns]   T, each with its own row stride
//          result may be gate or up.
//
// Tiling   A grid of (rows, ceil(columns / 2048)) blocks; a thread owns one vector of eight elements.
//
// Cost     Memory bound: 3 * rows * columns * sizeof(T) bytes.

#include "kf/kf.cuh"

constexpr int THREADS = 256;  // CudaOperators.SiluMul.cs uses the same number

template <class T> struct SiluMulArgs {  // mirrored by SiluMulArgs in C#
    const T* gate;
    const T* up;
    T* result;
    int columns;
    int gate_stride;
    int up_stride;
    int result_stride;
};

template <class T> KF_INLINE void silu_mul(const SiluMulArgs<T>& args) {
    int start = (blockIdx.y * THREADS + threadIdx.x) * PER_VECTOR<T>;
    if (start >= args.columns) return;

    size_t row = blockIdx.x;
    Vector<T> gate = load_elements(args.gate + row * args.gate_stride, start, args.columns, rows_are_aligned(args.gate, args.gate_stride));
    Vector<T> up = load_elements(args.up + row * args.up_stride, start, args.columns, rows_are_aligned(args.up, args.up_stride));
    Vector<T> gated;
#pragma unroll
    for (int i = 0; i < PER_VECTOR<T>; i++) gated[i] = from_float<T>(__fmul_rn(silu(to_float(gate[i])), to_float(up[i])));
    store_elements(args.result + row * args.result_stride, start, args.columns, rows_are_aligned(args.result, args.result_stride), gated);
}

extern "C" __global__ void __launch_bounds__(THREADS) silu_mul_f16(const __grid_constant__ SiluMulArgs<half> args) { silu_mul(args); }
extern "C" __global__ void __launch_bounds__(THREADS) silu_mul_bf16(const __grid_constant__ SiluMulArgs<bf16> args) { silu_mul(args); }
