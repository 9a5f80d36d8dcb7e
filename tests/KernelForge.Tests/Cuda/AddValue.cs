using System.Runtime.InteropServices;
using System.Text;

namespace KernelForge.Tests.Cuda;

/// <summary>Arguments of <see cref="AddValue"/>.</summary>
[StructLayout(LayoutKind.Sequential)]
internal readonly record struct AddValueArgs(nint Values, int Value, int Count);

/// <summary>A user's own kernel in PTX text: values[i] += value, for tests of everything around kernels.</summary>
internal static class AddValue
{
    public const string Name = "add_value";

    public const string Text = """
        .version 8.4
        .target sm_80
        .address_size 64
        .visible .entry add_value(.param .align 8 .b8 add_value_param_0[16])
        {
            .reg .pred %p<2>;
            .reg .b32 %r<9>;
            .reg .b64 %rd<5>;
            ld.param.u64 %rd1, [add_value_param_0];
            ld.param.u32 %r1, [add_value_param_0+8];
            ld.param.u32 %r2, [add_value_param_0+12];
            mov.u32 %r3, %ctaid.x;
            mov.u32 %r4, %ntid.x;
            mov.u32 %r5, %tid.x;
            mad.lo.s32 %r6, %r3, %r4, %r5;
            setp.ge.s32 %p1, %r6, %r2;
            @%p1 bra $L__BB0_2;
            cvta.to.global.u64 %rd2, %rd1;
            mul.wide.s32 %rd3, %r6, 4;
            add.s64 %rd4, %rd2, %rd3;
            ld.global.u32 %r7, [%rd4];
            add.s32 %r8, %r7, %r1;
            st.global.u32 [%rd4], %r8;
        $L__BB0_2:
            ret;
        }
        """;

    public static byte[] Image => Encoding.ASCII.GetBytes(Text);

    public static CudaKernel Load(CudaDevice device) => device.LoadModule(Image, "add_value.ptx").GetKernel(Name);

    /// <summary>Adds to all elements.</summary>
    public static void Add(CudaKernel kernel, DeviceSpan<int> values, int value, CudaStream? stream = null) =>
        kernel.Launch(grid: (values.Length + 63) / 64, block: 64, new AddValueArgs(values.Address, value, values.Length), stream: stream);
}
