// driver_test.cpp - the look-alike's rules, through its exported functions and a small module of PTX as nvcc emits it:
//
//     struct Args { float* out; const float* in; int count; float scale; };
//     scale(Args)    out[i] = in[i] * scale for i < count
//     bounded(Args)  reverses a block through shared memory; at most 64 threads
//     loose(out, v)  out[i] = v + counter, a variable of the module that starts at 7
#include <cstdio>
#include <cstring>
#include <string>
#include <thread>
#include <vector>

#include "../driver/cuda_abi.h"

extern "C" {
CUresult cuInit(unsigned);
CUresult cuDeviceGetCount(int*);
CUresult cuDeviceGetAttribute(int*, CUdevice_attribute, CUdevice);
CUresult cuDevicePrimaryCtxRetain(CUcontext*, CUdevice);
CUresult cuDevicePrimaryCtxRelease_v2(CUdevice);
CUresult cuDevicePrimaryCtxReset_v2(CUdevice);
CUresult cuCtxSetCurrent(CUcontext);
CUresult cuCtxSynchronize();
CUresult cuModuleLoadDataEx(CUmodule*, const void*, unsigned, CUjit_option*, void**);
CUresult cuModuleLoadData(CUmodule*, const void*);
CUresult cuModuleUnload(CUmodule);
CUresult cuModuleGetFunction(CUfunction*, CUmodule, const char*);
CUresult cuModuleGetGlobal_v2(CUdeviceptr*, size_t*, CUmodule, const char*);
CUresult cuFuncSetAttribute(CUfunction, CUfunction_attribute, int);
CUresult cuFuncGetParamInfo(CUfunction, size_t, size_t*, size_t*);
CUresult cuOccupancyMaxActiveBlocksPerMultiprocessor(int*, CUfunction, int, size_t);
CUresult cuMemAlloc_v2(CUdeviceptr*, size_t);
CUresult cuMemFree_v2(CUdeviceptr);
CUresult cuMemAllocAsync(CUdeviceptr*, size_t, CUstream);
CUresult cuMemFreeAsync(CUdeviceptr, CUstream);
CUresult cuMemAllocHost_v2(void**, size_t);
CUresult cuMemFreeHost(void*);
CUresult cuMemGetInfo_v2(size_t*, size_t*);
CUresult cuMemcpyHtoD_v2(CUdeviceptr, const void*, size_t);
CUresult cuMemcpyDtoH_v2(void*, CUdeviceptr, size_t);
CUresult cuMemcpyHtoDAsync_v2(CUdeviceptr, const void*, size_t, CUstream);
CUresult cuMemcpyDtoHAsync_v2(void*, CUdeviceptr, size_t, CUstream);
CUresult cuMemcpyDtoDAsync_v2(CUdeviceptr, CUdeviceptr, size_t, CUstream);
CUresult cuMemcpy2D_v2(const CUDA_MEMCPY2D*);
CUresult cuMemsetD32Async(CUdeviceptr, unsigned, size_t, CUstream);
CUresult cuStreamCreate(CUstream*, unsigned);
CUresult cuStreamDestroy_v2(CUstream);
CUresult cuStreamSynchronize(CUstream);
CUresult cuStreamQuery(CUstream);
CUresult cuStreamWaitEvent(CUstream, CUevent, unsigned);
CUresult cuLaunchHostFunc(CUstream, CUhostFn, void*);
CUresult cuEventCreate(CUevent*, unsigned);
CUresult cuEventDestroy_v2(CUevent);
CUresult cuEventRecord(CUevent, CUstream);
CUresult cuEventSynchronize(CUevent);
CUresult cuEventElapsedTime(float*, CUevent, CUevent);
CUresult cuLaunchKernel(CUfunction, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, CUstream, void**, void**);
CUresult cuStreamBeginCapture_v2(CUstream, CUstreamCaptureMode);
CUresult cuStreamEndCapture(CUstream, CUgraph*);
CUresult cuGraphInstantiateWithFlags(CUgraphExec*, CUgraph, unsigned long long);
CUresult cuGraphLaunch(CUgraphExec, CUstream);
CUresult cuGraphExecUpdate_v2(CUgraphExec, CUgraph, CUgraphExecUpdateResultInfo*);
CUresult cuGraphGetNodes(CUgraph, CUgraphNode*, size_t*);
CUresult cuGraphKernelNodeGetParams_v2(CUgraphNode, CUDA_KERNEL_NODE_PARAMS*);
CUresult cuGraphExecKernelNodeSetParams_v2(CUgraphExec, CUgraphNode, const CUDA_KERNEL_NODE_PARAMS*);
CUresult cuGraphDestroy(CUgraph);
CUresult cuGraphExecDestroy(CUgraphExec);
CUresult cuGetErrorName(CUresult, const char**);
int kfemu_set(const char*, const char*);
int kfemu_report(char*, int);
int kfemu_live(const char*);
}

namespace {

const std::string header = ".version 8.4\n.target sm_80\n.address_size 64\n";
const std::string kernels = R"ptx(

	// .globl	scale
.global .align 4 .u32 counter = 7;
.extern .shared .align 16 .b8 s[];

.visible .entry scale(
	.param .align 8 .b8 scale_param_0[24]
)
{
	.reg .pred 	%p<2>;
	.reg .f32 	%f<4>;
	.reg .b32 	%r<6>;
	.reg .b64 	%rd<11>;
	.loc	1 2 0

	mov.b64 	%rd2, scale_param_0;
	.loc	1 2 41
	mov.u32 	%r2, %ntid.x;
	mov.u32 	%r3, %ctaid.x;
	mov.u32 	%r4, %tid.x;
	mad.lo.s32 	%r1, %r3, %r2, %r4;
	add.s64 	%rd1, %rd2, 16;
	ld.param.u32 	%r5, [scale_param_0+16];
	setp.ge.s32 	%p1, %r1, %r5;
	@%p1 bra 	$L__BB0_2;

	ld.param.u64 	%rd4, [%rd1+-8];
	cvta.to.global.u64 	%rd5, %rd4;
	mul.wide.s32 	%rd6, %r1, 4;
	add.s64 	%rd7, %rd5, %rd6;
	ld.param.f32 	%f1, [%rd1+4];
	ld.global.f32 	%f2, [%rd7];
	mul.f32 	%f3, %f2, %f1;
	ld.param.u64 	%rd8, [%rd1+-16];
	cvta.to.global.u64 	%rd9, %rd8;
	add.s64 	%rd10, %rd9, %rd6;
	st.global.f32 	[%rd10], %f3;

$L__BB0_2:
	ret;

}
	// .globl	bounded
.visible .entry bounded(
	.param .align 8 .b8 bounded_param_0[24]
)
.maxntid 64, 1, 1
{
	.reg .f32 	%f<3>;
	.reg .b32 	%r<10>;
	.reg .b64 	%rd<8>;
	.loc	1 3 0

	.loc	1 3 76
	ld.param.u64 	%rd1, [bounded_param_0+8];
	cvta.to.global.u64 	%rd2, %rd1;
	mov.u32 	%r1, %tid.x;
	mul.wide.u32 	%rd3, %r1, 4;
	add.s64 	%rd4, %rd2, %rd3;
	ld.global.f32 	%f1, [%rd4];
	shl.b32 	%r2, %r1, 2;
	mov.u32 	%r3, s;
	add.s32 	%r4, %r3, %r2;
	st.shared.f32 	[%r4], %f1;
	bar.sync 	0;
	mov.u32 	%r5, %ntid.x;
	not.b32 	%r6, %r1;
	add.s32 	%r7, %r5, %r6;
	shl.b32 	%r8, %r7, 2;
	add.s32 	%r9, %r3, %r8;
	ld.shared.f32 	%f2, [%r9];
	ld.param.u64 	%rd5, [bounded_param_0];
	cvta.to.global.u64 	%rd6, %rd5;
	add.s64 	%rd7, %rd6, %rd3;
	st.global.f32 	[%rd7], %f2;
	ret;

}
	// .globl	loose
.visible .entry loose(
	.param .u64 loose_param_0,
	.param .u32 loose_param_1
)
{
	.reg .f32 	%f<2>;
	.reg .b32 	%r<5>;
	.reg .b64 	%rd<5>;
	.loc	1 5 0

	ld.param.u64 	%rd1, [loose_param_0];
	ld.param.u32 	%r1, [loose_param_1];
	.loc	1 5 41
	cvta.to.global.u64 	%rd2, %rd1;
	ld.global.u32 	%r2, [counter];
	add.s32 	%r3, %r2, %r1;
	cvt.rn.f32.s32 	%f1, %r3;
	mov.u32 	%r4, %tid.x;
	mul.wide.u32 	%rd3, %r4, 4;
	add.s64 	%rd4, %rd2, %rd3;
	st.global.f32 	[%rd4], %f1;
	ret;

}

	.file	1 "driver_test.cu"
)ptx";

int failures = 0;

void expect(bool good, const char* what, int line) {
    if (good) return;
    failures++;
    std::printf("line %d: %s\n", line, what);
}
#define EXPECT(condition) expect(condition, #condition, __LINE__)

void expect_result(CUresult got, CUresult wanted, const char* what, int line) {
    if (got == wanted) return;
    const char *got_name = "?", *wanted_name = "?";
    cuGetErrorName(got, &got_name);
    cuGetErrorName(wanted, &wanted_name);
    char report[2000];
    kfemu_report(report, sizeof report);
    failures++;
    std::printf("line %d: %s\n  expected %s, got %s; report: %s\n", line, what, wanted_name, got_name, report);
}
#define RESULT(wanted, call) expect_result(call, wanted, #call, __LINE__)
#define OK(call) RESULT(CUDA_SUCCESS, call)

bool report_has(const char* part) {
    char report[4000];
    kfemu_report(report, sizeof report);
    return std::strstr(report, part) != nullptr;
}

struct Args { CUdeviceptr out, in; int count; float scale; };

// A context with the module in it and two buffers of 1,024 floats; in holds 1, 2, 3 ...
struct Fixture {
    static constexpr int count = 1024;
    CUcontext context{};
    CUmodule module{};
    CUfunction scale{}, bounded{}, loose{};
    CUdeviceptr in{}, out{};
    CUstream a{}, b{};
    CUevent event{};
    float* pinned{};
    std::vector<float> values = std::vector<float>(count);

    Fixture() {
        OK(cuDevicePrimaryCtxRetain(&context, 0));
        OK(cuCtxSetCurrent(context));
        OK(cuModuleLoadData(&module, (header + kernels).c_str()));
        OK(cuModuleGetFunction(&scale, module, "scale"));
        OK(cuModuleGetFunction(&bounded, module, "bounded"));
        OK(cuModuleGetFunction(&loose, module, "loose"));
        OK(cuMemAlloc_v2(&in, count * 4));
        OK(cuMemAlloc_v2(&out, count * 4));
        OK(cuStreamCreate(&a, CU_STREAM_NON_BLOCKING));
        OK(cuStreamCreate(&b, CU_STREAM_NON_BLOCKING));
        OK(cuEventCreate(&event, CU_EVENT_DEFAULT));
        OK(cuMemAllocHost_v2(reinterpret_cast<void**>(&pinned), count * 4));
        for (int i = 0; i < count; i++) values[i] = float(i + 1);
        OK(cuMemcpyHtoD_v2(in, values.data(), count * 4));
    }

    // Whatever happened, everything can be given back.
    ~Fixture() {
        cuEventDestroy_v2(event);
        cuStreamDestroy_v2(a);
        cuStreamDestroy_v2(b);
        cuMemFreeHost(pinned);
        cuMemFree_v2(in);
        cuMemFree_v2(out);
        cuModuleUnload(module);
        OK(cuDevicePrimaryCtxRelease_v2(0));
        OK(cuCtxSetCurrent(nullptr));
        for (const char* kind : {"allocations", "streams", "events", "modules", "graphs", "execs", "host", "contexts"})
            if (kfemu_live(kind)) expect(false, kind, __LINE__);
    }

    CUresult launch(CUfunction function, Args args, CUstream stream, unsigned block = 256, unsigned dynamic_bytes = 0) {
        void* parameters[] = {&args};
        return cuLaunchKernel(function, unsigned(args.count + int(block) - 1) / block, 1, 1, block, 1, 1, dynamic_bytes, stream, parameters, nullptr);
    }
    CUresult launch_scale(CUdeviceptr target, CUdeviceptr source, float factor, CUstream stream) { return launch(scale, {target, source, count, factor}, stream); }

    bool holds(CUdeviceptr buffer, float factor) {
        std::vector<float> got(count);
        OK(cuMemcpyDtoH_v2(got.data(), buffer, count * 4));
        for (int i = 0; i < count; i++)
            if (got[i] != factor * float(i + 1)) return false;
        return true;
    }
};

void needs_initialisation_and_a_context() {
    CUdeviceptr p;
    int count = 0, value = 0;
    RESULT(CUDA_ERROR_NOT_INITIALIZED, cuDeviceGetCount(&count));
    OK(cuInit(0));
    RESULT(CUDA_ERROR_INVALID_CONTEXT, cuMemAlloc_v2(&p, 16));
    OK(cuDeviceGetCount(&count));
    EXPECT(count == 2);
    OK(cuDeviceGetAttribute(&value, CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN, 1));
    EXPECT(value == 227 * 1024);
    RESULT(CUDA_ERROR_INVALID_DEVICE, cuDeviceGetAttribute(&value, CU_DEVICE_ATTRIBUTE_WARP_SIZE, 2));
}

void launches_run_when_something_waits() {
    Fixture f;
    std::memset(f.pinned, 0, f.count * 4);
    OK(f.launch_scale(f.out, f.in, 2, f.a));
    OK(cuMemcpyDtoHAsync_v2(f.pinned, f.out, f.count * 4, f.a));
    EXPECT(f.pinned[5] == 0);
    OK(cuStreamSynchronize(f.a));
    EXPECT(f.pinned[5] == 12);
    OK(f.launch(f.bounded, {f.out, f.in, 64, 0}, f.a, 64, 256));
    OK(cuMemcpyDtoHAsync_v2(f.pinned, f.out, 256, f.a));
    OK(cuStreamSynchronize(f.a));
    EXPECT(f.pinned[0] == 64 && f.pinned[63] == 1);
}

void variables_of_a_module() {
    Fixture f;
    CUdeviceptr counter;
    size_t bytes = 0;
    OK(cuModuleGetGlobal_v2(&counter, &bytes, f.module, "counter"));
    EXPECT(bytes == 4);
    int value = 3;
    OK(cuMemcpyHtoD_v2(counter, &value, 4));
    void* parameters[] = {&f.out, &value};
    OK(cuLaunchKernel(f.loose, 1, 1, 1, 32, 1, 1, 0, nullptr, parameters, nullptr));
    OK(cuMemcpyDtoH_v2(f.pinned, f.out, 128));
    EXPECT(f.pinned[31] == 6);
}

void pageable_sources_are_staged_and_pinned_ones_read_late() {
    Fixture f;
    OK(cuMemcpyHtoDAsync_v2(f.in, f.values.data(), 4, f.a));
    f.values[0] = 50;
    f.pinned[0] = 60;
    OK(cuMemcpyHtoDAsync_v2(f.in + 4, f.pinned, 4, f.a));
    f.pinned[0] = 70;
    OK(cuStreamSynchronize(f.a));
    float got[2];
    OK(cuMemcpyDtoH_v2(got, f.in, 8));
    EXPECT(got[0] == 1 && got[1] == 70);
}

void a_missing_event_is_reported_and_an_event_orders() {
    {
        Fixture f;
        OK(f.launch_scale(f.out, f.in, 2, f.a));
        OK(cuEventRecord(f.event, f.a));
        OK(cuStreamWaitEvent(f.b, f.event, 0));
        OK(f.launch_scale(f.in, f.out, 3, f.b));
        OK(cuStreamSynchronize(f.b));
        EXPECT(f.holds(f.in, 6));
    }
    for (bool copy : {true, false}) {
        Fixture f;
        OK(f.launch_scale(f.out, f.in, 2, f.a));
        OK(copy ? cuMemcpyDtoDAsync_v2(f.in, f.out, 64, f.b) : f.launch_scale(f.in, f.out, 3, f.b));
        RESULT(CUDA_ERROR_LAUNCH_FAILED, cuCtxSynchronize());
        EXPECT(report_has("kernel scale on stream"));
    }
}

void waiting_on_the_host_orders() {
    Fixture f;
    OK(f.launch_scale(f.out, f.in, 2, f.a));
    OK(cuStreamSynchronize(f.a));
    OK(f.launch_scale(f.in, f.out, 3, f.b));
    OK(cuStreamSynchronize(f.b));
    EXPECT(f.holds(f.in, 6));
}

void the_default_stream_orders_blocking_streams() {
    Fixture f;
    CUstream blocking, other;
    OK(cuStreamCreate(&blocking, CU_STREAM_DEFAULT));
    OK(cuStreamCreate(&other, CU_STREAM_DEFAULT));
    OK(f.launch_scale(f.out, f.in, 2, blocking));
    OK(f.launch_scale(f.in, f.out, 2, nullptr));
    OK(f.launch_scale(f.out, f.in, 2, other));
    EXPECT(f.holds(f.out, 8));
    OK(cuStreamDestroy_v2(blocking));
    OK(cuStreamDestroy_v2(other));
}

void asking_again_and_again_comes_to_an_end() {
    Fixture f;
    OK(f.launch_scale(f.out, f.in, 2, f.a));
    OK(cuEventRecord(f.event, f.a));
    int asked = 0;
    while (cuStreamQuery(f.a) == CUDA_ERROR_NOT_READY && asked < 100) asked++;
    EXPECT(asked > 0 && asked < 100);
    float ms = -1;
    OK(cuEventElapsedTime(&ms, f.event, f.event));
    EXPECT(ms == 0);
    EXPECT(f.holds(f.out, 2));
}

void host_functions_run_in_order_and_may_not_call() {
    Fixture f;
    static CUresult inside;
    static int order;
    order = 0;
    OK(cuLaunchHostFunc(f.a, [](void*) { order = order * 10 + 1; }, nullptr));
    OK(cuLaunchHostFunc(f.a, [](void*) { order = order * 10 + 2; inside = cuCtxSynchronize(); }, nullptr));
    EXPECT(order == 0);
    OK(cuStreamSynchronize(f.a));
    EXPECT(order == 12);
    RESULT(CUDA_ERROR_NOT_PERMITTED, inside);
}

CUgraph capture(Fixture& f, float factor) {
    CUgraph graph;
    OK(cuStreamBeginCapture_v2(f.a, CU_STREAM_CAPTURE_MODE_GLOBAL));
    OK(f.launch_scale(f.out, f.in, factor, f.a));
    OK(f.launch_scale(f.in, f.out, 1, f.a));
    OK(cuStreamEndCapture(f.a, &graph));
    return graph;
}

void graphs_replay_and_take_new_arguments() {
    Fixture f;
    CUgraph graph = capture(f, 2), second = capture(f, 5);
    CUgraphExec exec;
    OK(cuGraphInstantiateWithFlags(&exec, graph, 0));
    EXPECT(f.holds(f.in, 1));
    for (int i = 0; i < 3; i++) OK(cuGraphLaunch(exec, f.b));
    OK(cuStreamSynchronize(f.b));
    EXPECT(f.holds(f.in, 8));
    CUgraphExecUpdateResultInfo info;
    OK(cuGraphExecUpdate_v2(exec, second, &info));
    OK(cuGraphLaunch(exec, f.b));
    OK(cuStreamSynchronize(f.b));
    EXPECT(f.holds(f.in, 40));

    CUgraphNode nodes[4];
    size_t count = 4;
    OK(cuGraphGetNodes(graph, nodes, &count));
    EXPECT(count == 2);
    CUDA_KERNEL_NODE_PARAMS p;
    OK(cuGraphKernelNodeGetParams_v2(nodes[0], &p));
    Args args = *static_cast<Args*>(p.kernelParams[0]);
    EXPECT(args.scale == 2);
    args.scale = 0.5f;
    void* parameters[] = {&args};
    p.kernelParams = parameters;
    OK(cuGraphExecKernelNodeSetParams_v2(exec, nodes[0], &p));
    OK(cuGraphLaunch(exec, f.b));
    OK(cuStreamSynchronize(f.b));
    EXPECT(f.holds(f.in, 20));

    CUgraph longer;
    OK(cuStreamBeginCapture_v2(f.a, CU_STREAM_CAPTURE_MODE_GLOBAL));
    for (int i = 0; i < 3; i++) OK(f.launch_scale(f.out, f.in, 1, f.a));
    OK(cuStreamEndCapture(f.a, &longer));
    RESULT(CUDA_ERROR_GRAPH_EXEC_UPDATE_FAILURE, cuGraphExecUpdate_v2(exec, longer, &info));
    EXPECT(info.result == CU_GRAPH_EXEC_UPDATE_ERROR_TOPOLOGY_CHANGED);
    for (CUgraph g : {graph, second, longer}) OK(cuGraphDestroy(g));
    OK(cuGraphExecDestroy(exec));
}

void waiting_in_a_capture_loses_it() {
    Fixture f;
    CUgraph graph;
    OK(cuStreamBeginCapture_v2(f.a, CU_STREAM_CAPTURE_MODE_GLOBAL));
    RESULT(CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED, cuStreamSynchronize(f.a));
    RESULT(CUDA_ERROR_STREAM_CAPTURE_INVALIDATED, cuStreamEndCapture(f.a, &graph));
    OK(cuStreamBeginCapture_v2(f.a, CU_STREAM_CAPTURE_MODE_GLOBAL));
    CUdeviceptr p;
    RESULT(CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED, cuMemAlloc_v2(&p, 16));
    RESULT(CUDA_ERROR_STREAM_CAPTURE_INVALIDATED, cuStreamEndCapture(f.a, &graph));
    OK(cuStreamSynchronize(f.a));
}

// A fork by an event; the branches of the graph know no order between them.
void captures_fork_and_must_join() {
    for (bool join : {true, false}) {
        Fixture f;
        CUevent joined;
        CUgraph graph;
        OK(cuEventCreate(&joined, CU_EVENT_DISABLE_TIMING));
        OK(cuStreamBeginCapture_v2(f.a, CU_STREAM_CAPTURE_MODE_GLOBAL));
        OK(cuMemsetD32Async(f.out, 0, f.count, f.a));
        OK(cuEventRecord(f.event, f.a));
        OK(cuStreamWaitEvent(f.b, f.event, 0));
        OK(f.launch(f.scale, {f.out, f.in, 512, 2}, f.b));
        OK(f.launch(f.scale, {f.out + 2048, f.in + 2048, 512, 2}, f.a));
        OK(cuEventRecord(joined, f.b));
        if (join) {
            OK(cuStreamWaitEvent(f.a, joined, 0));
            OK(f.launch_scale(f.in, f.out, 2, f.a));
            OK(cuStreamEndCapture(f.a, &graph));
            CUgraphExec exec;
            OK(cuGraphInstantiateWithFlags(&exec, graph, 0));
            OK(cuGraphLaunch(exec, f.a));
            OK(cuStreamSynchronize(f.a));
            EXPECT(f.holds(f.in, 4));
            OK(cuGraphExecDestroy(exec));
            OK(cuGraphDestroy(graph));
        } else {
            RESULT(CUDA_ERROR_STREAM_CAPTURE_UNJOINED, cuStreamEndCapture(f.a, &graph));
        }
        OK(cuEventDestroy_v2(joined));
    }
}

void launches_are_checked() {
    Fixture f;
    Args args{f.out, f.in, 64, 1};
    RESULT(CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES, f.launch(f.bounded, args, f.a, 128));
    RESULT(CUDA_ERROR_INVALID_VALUE, f.launch(f.scale, args, f.a, 2048));
    RESULT(CUDA_ERROR_INVALID_VALUE, f.launch(f.scale, {f.out, f.in, 0, 1}, f.a));
    RESULT(CUDA_ERROR_INVALID_VALUE, f.launch(f.bounded, args, f.a, 64, 50000));
    OK(cuFuncSetAttribute(f.bounded, CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES, 50000));
    OK(f.launch(f.bounded, args, f.a, 64, 50000));
    RESULT(CUDA_ERROR_INVALID_VALUE, cuFuncSetAttribute(f.bounded, CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES, 200000));
    RESULT(CUDA_ERROR_INVALID_VALUE, cuLaunchKernel(f.scale, 1, 1, 1, 32, 1, 1, 0, f.a, nullptr, nullptr));
    for (size_t size : {sizeof args, sizeof args - 8}) {
        void* extra[] = {reinterpret_cast<void*>(1), &args, reinterpret_cast<void*>(2), &size, nullptr};
        RESULT(size == sizeof args ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE, cuLaunchKernel(f.scale, 1, 1, 1, 64, 1, 1, 0, f.a, nullptr, extra));
    }
    EXPECT(report_has("16 bytes, the kernel takes 24"));
    size_t offset, size;
    OK(cuFuncGetParamInfo(f.loose, 1, &offset, &size));
    EXPECT(offset == 8 && size == 4);
    int blocks;
    OK(cuOccupancyMaxActiveBlocksPerMultiprocessor(&blocks, f.bounded, 64, 80000));
    EXPECT(blocks == 2);
    OK(cuCtxSynchronize());
}

void output_that_is_not_written_is_reported_and_sticks() {
    Fixture f;
    OK(f.launch(f.scale, {f.out, f.in, 1000, 1}, f.a));
    OK(cuMemcpyDtoHAsync_v2(f.pinned, f.out, f.count * 4, f.a));
    RESULT(CUDA_ERROR_ILLEGAL_ADDRESS, cuStreamSynchronize(f.a));
    EXPECT(report_has("output not fully written: 96 of 4096 bytes"));
    EXPECT(report_has("4000 bytes into cuMemAlloc"));
    RESULT(CUDA_ERROR_ILLEGAL_ADDRESS, cuCtxSynchronize());
    CUdeviceptr p;
    RESULT(CUDA_ERROR_ILLEGAL_ADDRESS, cuMemAlloc_v2(&p, 16));
    OK(cuDevicePrimaryCtxReset_v2(0));
    OK(cuMemAlloc_v2(&p, 16));
    OK(cuMemFree_v2(p));
}

void faults_of_a_kernel_stick() {
    Fixture f;
    OK(f.launch(f.scale, {f.out, f.in, f.count + 1, 1}, f.a));
    RESULT(CUDA_ERROR_ILLEGAL_ADDRESS, cuStreamSynchronize(f.a));
    EXPECT(report_has("kernel scale"));
    EXPECT(report_has("bytes past the end of cuMemAlloc"));
    RESULT(CUDA_ERROR_ILLEGAL_ADDRESS, f.launch_scale(f.out, f.in, 1, f.b));
    int before = kfemu_live("allocations");
    RESULT(CUDA_ERROR_ILLEGAL_ADDRESS, cuMemFree_v2(f.out));
    EXPECT(kfemu_live("allocations") == before - 1);
}

void threads_may_call_at_the_same_time() {
    Fixture f;
    auto body = [&] {
        OK(cuCtxSetCurrent(f.context));
        CUstream stream;
        CUdeviceptr own;
        OK(cuStreamCreate(&stream, CU_STREAM_NON_BLOCKING));
        for (int i = 0; i < 20; i++) {
            OK(cuMemAlloc_v2(&own, f.count * 4));
            OK(f.launch_scale(own, f.in, 3, stream));
            float got = 0;
            OK(cuMemcpyDtoHAsync_v2(&got, own, 4, stream));
            EXPECT(got == 3);
            OK(cuMemFree_v2(own));
        }
        OK(cuStreamDestroy_v2(stream));
        OK(cuCtxSetCurrent(nullptr));
    };
    std::vector<std::thread> threads;
    for (int i = 0; i < 4; i++) threads.emplace_back(body);
    for (std::thread& thread : threads) thread.join();
}

void memory_is_counted_and_freed_in_order() {
    Fixture f;
    size_t free_before, free_after, total;
    OK(cuMemGetInfo_v2(&free_before, &total));
    CUdeviceptr p, q;
    RESULT(CUDA_ERROR_OUT_OF_MEMORY, cuMemAlloc_v2(&p, total));
    RESULT(CUDA_ERROR_INVALID_VALUE, cuMemFree_v2(f.in + 4));
    OK(cuMemAllocAsync(&q, f.count * 4, f.a));
    OK(f.launch_scale(q, f.in, 2, f.a));
    OK(cuMemcpyDtoDAsync_v2(f.out, q, f.count * 4, f.a));
    OK(cuMemFreeAsync(q, f.a));
    RESULT(CUDA_ERROR_INVALID_VALUE, cuMemFreeAsync(q, f.a));
    OK(cuStreamSynchronize(f.a));
    OK(cuMemGetInfo_v2(&free_after, &total));
    EXPECT(free_before == free_after);
    EXPECT(f.holds(f.out, 2));
    RESULT(CUDA_ERROR_INVALID_VALUE, cuMemcpyHtoD_v2(q, f.values.data(), 16));
    EXPECT(report_has("freed"));
    RESULT(CUDA_ERROR_INVALID_VALUE, cuMemcpyHtoD_v2(f.in + 4092, f.values.data(), 8));

    OK(cuMemAllocAsync(&q, f.count * 4, f.a));
    OK(cuMemFreeAsync(q, f.a));
    OK(f.launch_scale(q, f.in, 2, f.a));
    RESULT(CUDA_ERROR_ILLEGAL_ADDRESS, cuStreamSynchronize(f.a));
    EXPECT(report_has("freed"));
}

void rectangles_are_copied() {
    Fixture f;
    CUDA_MEMCPY2D p{};
    p.srcMemoryType = CU_MEMORYTYPE_DEVICE;
    p.srcDevice = f.in;
    p.srcPitch = 256;
    p.srcXInBytes = 8;
    p.srcY = 1;
    p.dstMemoryType = CU_MEMORYTYPE_HOST;
    p.dstHost = f.pinned;
    p.dstPitch = p.WidthInBytes = 8;
    p.Height = 3;
    OK(cuMemcpy2D_v2(&p));
    EXPECT(f.pinned[0] == 67 && f.pinned[1] == 68 && f.pinned[2] == 131 && f.pinned[5] == 196);
}

void modules_that_cannot_be_loaded_say_why() {
    Fixture f;
    auto load = [](const std::string& ptx, std::string& log) {
        char errors[1000] = "";
        CUjit_option options[] = {CU_JIT_ERROR_LOG_BUFFER, CU_JIT_ERROR_LOG_BUFFER_SIZE_BYTES};
        void* values[] = {errors, reinterpret_cast<void*>(sizeof errors)};
        CUmodule module;
        CUresult result = cuModuleLoadDataEx(&module, ptx.c_str(), 2, options, values);
        log = errors;
        EXPECT(log.size() == reinterpret_cast<size_t>(values[1]));
        return result;
    };
    std::string log;
    RESULT(CUDA_ERROR_NO_BINARY_FOR_GPU, load(".version 8.4\n.target sm_90a\n.address_size 64\n", log));
    EXPECT(log.find("sm_90a") != std::string::npos);
    RESULT(CUDA_ERROR_UNSUPPORTED_PTX_VERSION, load(".version 9.1\n.target sm_80\n.address_size 64\n", log));
    RESULT(CUDA_ERROR_INVALID_IMAGE, load("no ptx at all", log));
    RESULT(CUDA_ERROR_INVALID_PTX, load(header + ".visible .entry k()\n{\n\tnonsense.f32 %f1;\n\tret;\n}\n", log));
    EXPECT(log.find("nonsense") != std::string::npos);
    CUfunction function;
    RESULT(CUDA_ERROR_NOT_FOUND, cuModuleGetFunction(&function, f.module, "absent"));
}

}  // namespace

int main() {
    needs_initialisation_and_a_context();
    using Case = void (*)();
    constexpr Case cases[] = {launches_run_when_something_waits, variables_of_a_module, pageable_sources_are_staged_and_pinned_ones_read_late,
                              a_missing_event_is_reported_and_an_event_orders, waiting_on_the_host_orders, the_default_stream_orders_blocking_streams,
                              asking_again_and_again_comes_to_an_end, host_functions_run_in_order_and_may_not_call, graphs_replay_and_take_new_arguments,
                              waiting_in_a_capture_loses_it, captures_fork_and_must_join, launches_are_checked, output_that_is_not_written_is_reported_and_sticks,
                              faults_of_a_kernel_stick, threads_may_call_at_the_same_time, memory_is_counted_and_freed_in_order, rectangles_are_copied, modules_that_cannot_be_loaded_say_why};
    for (const char* order : {"fifo", "reverse", "random"}) {
        kfemu_set("order", order);
        for (const char* seed : {"1", "2", "3"}) {
            kfemu_set("seed", seed);
            for (Case test : cases) test();
        }
    }
    std::printf("%d failures\n", failures);
    return failures ? 1 : 0;
}
