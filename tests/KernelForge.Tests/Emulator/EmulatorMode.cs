using System.Globalization;

namespace KernelForge.Tests;

/// <summary>An order in which the emulator runs warps and blocks, and whether it runs the lanes of a warp one by one.</summary>
internal sealed record EmulatorMode(string Order, int Seed, bool SingleLanes)
{
    /// <summary>First to last, last to first and three random orders, each with lanes together and one by one. KF_EMULATOR_SEED names the first random one.</summary>
    public static EmulatorMode[] All { get; } =
    [
        .. from singleLanes in (bool[])[false, true]
           from order in (string[])["fifo", "reverse", "random"]
           from seed in order == "random" ? Enumerable.Range(FirstSeed, 3) : [1]
           select new EmulatorMode(order, seed, singleLanes),
    ];

    private static int FirstSeed => int.Parse(Emulator.Seed, CultureInfo.InvariantCulture);

    public void ApplyTo(PrivateEmulator emulator)
    {
        emulator.Set("order", Order);
        emulator.Set("seed", Seed.ToString(CultureInfo.InvariantCulture));
        emulator.Set("single_lanes", SingleLanes ? "1" : "0");
    }

    public override string ToString() => $"KF_EMULATOR_ORDER={Order} KF_EMULATOR_SEED={Seed} KF_EMULATOR_SINGLE_LANES={(SingleLanes ? 1 : 0)}";
}
