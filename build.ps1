#!/usr/bin/env pwsh
# The one entry point for building, trying and testing KernelForge. `./build.ps1 help` lists the verbs; they are those of build.sh.
param([string] $Verb = 'help', [Parameter(ValueFromRemainingArguments)] [string[]] $Arguments = @())

$ErrorActionPreference = 'Stop'
Set-Location $PSScriptRoot
$env:DOTNET_CLI_TELEMETRY_OPTOUT = '1'
$env:DOTNET_NOLOGO = '1'

function Show-Usage {
    @'
usage: ./build.ps1 VERB [ARGUMENTS]

  demo    answer samples/tickets/prompts.jsonl with the demo model, score the answers, print a summary
          (arguments go to `kf run`, as in: ./build.ps1 demo --max-sequences 8)
  test    run all tests; the last line counts them
          (arguments go to `dotnet test`, as in: ./build.ps1 test --filter MatMul)
  kernels compile the native CPU library and the CUDA kernels; needs CUDA 12.4 or newer (CUDA_PATH) and Visual Studio's C++ tools
  bench   run benchmarks (arguments go to BenchmarkDotNet, as in: ./build.ps1 bench --filter '*MatMul*')
  pack    make the NuGet packages in artifacts/package
  clean   remove everything that was built

The adapter for ManagedCuda is compiled where its package is in the package folder, or with: ./build.ps1 test -p:KernelForgeManagedCuda=true
'@
}

function Stop-Build([string] $Message) {
    [Console]::Error.WriteLine("build.ps1: $Message")
    exit 1
}

function Assert-Dotnet {
    if (-not (Get-Command dotnet -ErrorAction SilentlyContinue)) {
        Stop-Build 'the .NET SDK 10 is missing: install it from https://dot.net and put dotnet on the PATH'
    }
    dotnet --version *> $null
    if ($LASTEXITCODE -ne 0) { Stop-Build "the .NET SDK 10 is missing: global.json asks for 10.0, here are: $(dotnet --list-sdks)" }
}

function Invoke-Dotnet {
    & dotnet @args
    if ($LASTEXITCODE -ne 0) { exit $LASTEXITCODE }
}

# Compiles the native CPU library and the PTX of the CUDA kernels; nothing when nothing changed. The emulator, its tests and the GPU bundle are made on Linux.
function Invoke-Native([string] $RequireNvcc) {
    & cmake -S . -B artifacts/cmake --log-level=NOTICE "-DKF_FETCH_NVCC=OFF" "-DKF_REQUIRE_NVCC=$RequireNvcc" | Out-Null
    if ($LASTEXITCODE -ne 0) { exit $LASTEXITCODE }
    & cmake --build artifacts/cmake --config Release | Out-Host
    if ($LASTEXITCODE -ne 0) { exit $LASTEXITCODE }
}

function Invoke-NativeIfPossible {
    if (Get-Command cmake -ErrorAction SilentlyContinue) { Invoke-Native 'OFF' }
    else { [Console]::Error.WriteLine('build.ps1: cmake is not here: the native CPU library and CUDA kernels are left out') }
}

function Invoke-Kernels {
    if (-not (Get-Command cmake -ErrorAction SilentlyContinue)) { Stop-Build 'cmake 3.25 or newer is missing: install it or Visual Studio with the C++ tools' }
    Invoke-Native 'ON'
}

function Invoke-Demo {
    Invoke-NativeIfPossible
    Invoke-Dotnet build src/KernelForge.Cli -c Release -v quiet
    New-Item -ItemType Directory -Force artifacts/demo | Out-Null
    & dotnet artifacts/bin/KernelForge.Cli/release/kf.dll run --model samples/tickets/model --input samples/tickets/prompts.jsonl `
        --output artifacts/demo/answers.jsonl --score samples/tickets/expected.jsonl --summary artifacts/demo/summary.json --overwrite @Arguments
    exit $LASTEXITCODE
}

# Runs all test projects and ends with one line that counts every test that ran.
function Invoke-Tests {
    $results = 'artifacts/test-results'
    Remove-Item -Recurse -Force $results -ErrorAction SilentlyContinue
    Invoke-NativeIfPossible
    & dotnet test KernelForge.sln -c Release --logger trx --results-directory $results -v quiet @Arguments
    $status = $LASTEXITCODE
    $files = @(Get-ChildItem "$results/*.trx" -ErrorAction SilentlyContinue)
    if ($files.Count -eq 0) { Stop-Build "no test result was written; the build or the test host failed (exit code $status)" }
    $total = 0; $passed = 0; $failed = 0
    foreach ($file in $files) {
        $counters = ([xml](Get-Content $file -Raw)).TestRun.ResultSummary.Counters
        $total += [int]$counters.total; $passed += [int]$counters.passed; $failed += [int]$counters.failed
    }
    if ($passed + $failed -eq 0) { Stop-Build 'no test ran' }
    "left out: $(Get-LeftOut $files 'emulated-[a-z0-9]+') cases on the emulator, $(Get-LeftOut $files 'cuda') on a GPU"
    "$passed passed, $failed failed, $($total - $passed - $failed) skipped"
    if ($status -eq 0 -and $failed -gt 0) { $status = 1 }
    exit $status
}

# How many skipped cases name the device.
function Get-LeftOut([object[]] $Files, [string] $Device) {
    $count = 0
    foreach ($file in $Files) {
        $count += @(([xml](Get-Content $file -Raw)).TestRun.Results.UnitTestResult | Where-Object { $_.outcome -eq 'NotExecuted' -and $_.testName -match "`"$Device`"" }).Count
    }
    $count
}

switch ($Verb) {
    'demo' { Assert-Dotnet; Invoke-Demo }
    'test' { Assert-Dotnet; Invoke-Tests }
    'kernels' { Invoke-Kernels }
    { $_ -in 'emulator-path', 'bundle' } { Stop-Build "$Verb needs Linux: use build.sh, for example in WSL" }
    'bench' { Assert-Dotnet; Invoke-NativeIfPossible; Invoke-Dotnet run -c Release --project bench/KernelForge.Bench '--' @Arguments }
    'pack' { Assert-Dotnet; Invoke-NativeIfPossible; Invoke-Dotnet pack KernelForge.sln -c Release -v quiet @Arguments; Get-ChildItem artifacts/package/release/*.nupkg }
    'clean' { Remove-Item -Recurse -Force artifacts -ErrorAction SilentlyContinue }
    { $_ -in 'help', '-h', '--help' } { Show-Usage }
    default { Show-Usage; Stop-Build "unknown verb '$Verb'" }
}
