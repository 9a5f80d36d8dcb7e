namespace KernelForge;

/// <summary>What a call of the CUDA driver returns. Values that are not listed here may come; the driver knows their names.</summary>
public enum CUresult
{
    /// <summary>The call worked.</summary>
    Success = 0,

    /// <summary>An argument is out of range, or a handle is none.</summary>
    InvalidValue = 1,

    /// <summary>Not enough memory.</summary>
    OutOfMemory = 2,

    /// <summary>cuInit was not called.</summary>
    NotInitialized = 3,

    /// <summary>The process is ending.</summary>
    Deinitialized = 4,

    /// <summary>The library is a stub without a driver behind it.</summary>
    StubLibrary = 34,

    /// <summary>No device.</summary>
    NoDevice = 100,

    /// <summary>No device of that number.</summary>
    InvalidDevice = 101,

    /// <summary>The image of a module is not one.</summary>
    InvalidImage = 200,

    /// <summary>No context is current, or it is no context.</summary>
    InvalidContext = 201,

    /// <summary>The image has no code for this device.</summary>
    NoBinaryForGpu = 209,

    /// <summary>The compiler of the driver rejects the PTX.</summary>
    InvalidPtx = 218,

    /// <summary>The driver has no compiler for PTX.</summary>
    JitCompilerNotFound = 221,

    /// <summary>The PTX is of a newer version than the driver reads.</summary>
    UnsupportedPtxVersion = 222,

    /// <summary>A file does not exist.</summary>
    FileNotFound = 301,

    /// <summary>A handle does not belong to a live object.</summary>
    InvalidHandle = 400,

    /// <summary>No such name, or no such symbol.</summary>
    NotFound = 500,

    /// <summary>Work is still queued; not an error.</summary>
    NotReady = 600,

    /// <summary>A kernel used an address that is not its own.</summary>
    IllegalAddress = 700,

    /// <summary>A launch asks for more registers, threads or shared memory than the device has.</summary>
    LaunchOutOfResources = 701,

    /// <summary>A kernel ran too long.</summary>
    LaunchTimeout = 702,

    /// <summary>A kernel stopped at an assertion.</summary>
    Assert = 710,

    /// <summary>The host memory is registered already.</summary>
    HostMemoryAlreadyRegistered = 712,

    /// <summary>The host memory is not registered.</summary>
    HostMemoryNotRegistered = 713,

    /// <summary>The device found damage that it cannot place.</summary>
    HardwareStackError = 714,

    /// <summary>A kernel ran into an instruction that the device does not have.</summary>
    IllegalInstruction = 715,

    /// <summary>A kernel used an address that is no multiple of the access size.</summary>
    MisalignedAddress = 716,

    /// <summary>A kernel used an address of another memory than the instruction names.</summary>
    InvalidAddressSpace = 717,

    /// <summary>A kernel left its program.</summary>
    InvalidProgramCounter = 718,

    /// <summary>A kernel failed in another way.</summary>
    LaunchFailed = 719,

    /// <summary>The operation is not permitted.</summary>
    NotPermitted = 800,

    /// <summary>The driver or device does not have what was asked for.</summary>
    NotSupported = 801,

    /// <summary>A stream cannot do this while it is captured.</summary>
    StreamCaptureUnsupported = 900,

    /// <summary>A capture was broken by an earlier call.</summary>
    StreamCaptureInvalidated = 901,

    /// <summary>A graph changed in a way that an instance of it cannot follow.</summary>
    GraphExecUpdateFailure = 910,

    /// <summary>The driver does not say.</summary>
    Unknown = 999,
}
