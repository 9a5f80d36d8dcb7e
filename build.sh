#!/usr/bin/env bash
# The one entry point for building, trying and testing KernelForge. `./build.sh help` lists the verbs.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
export DOTNET_CLI_TELEMETRY_OPTOUT=1 DOTNET_NOLOGO=1
# Test hosts and compilers left running by a build server would outlive the script.
export MSBUILDDISABLENODEREUSE=1 UseSharedCompilation=false

emulator=artifacts/emulator/libcuda_emulated.so

usage() {
  cat <<'HELP'
usage: ./build.sh VERB [ARGUMENTS]

  demo    answer samples/tickets/prompts.jsonl with the demo model, score the answers, print a summary
          (arguments go to `kf run`, as in: ./build.sh demo --max-sequences 8)
  test    run all tests; the last line counts them
          (arguments go to `dotnet test`, as in: ./build.sh test --filter MatMul)
  kernels compile the CUDA kernels, the emulator that runs them on the CPU, and the native CPU library, hold the kernels to native/budgets.tsv;
          fetches nvcc where there is none (Debian); --write-budgets first adds lines for new kernels to native/budgets.tsv
  emulator-path
          print where the emulator is; KERNELFORGE_CUDA_DRIVER takes it for a driver
  bundle  make artifacts/bundle/kernelforge-gpu.tar.xz: all that a machine with nothing but an NVIDIA driver needs to test, try and measure
  bench   run benchmarks (arguments go to BenchmarkDotNet, as in: ./build.sh bench --filter '*MatMul*')
  pack    make the NuGet packages in artifacts/package
  clean   remove everything that was built (a fetched nvcc stays in .cuda)

--managedcuda auto|on|off with test, bench and pack: whether the adapter for ManagedCuda is compiled; auto, the default, where its packages restore
HELP
}

fail() { echo "build.sh: $*" >&2; exit 1; }

need_dotnet() {
  command -v dotnet >/dev/null || fail "the .NET SDK 10 is missing: install it from https://dot.net and put dotnet on the PATH"
  dotnet --version >/dev/null 2>&1 || fail "the .NET SDK 10 is missing: global.json asks for 10.0, here are: $(dotnet --list-sdks | cut -d' ' -f1 | tr '\n' ' ')"
}

need_cmake() {
  command -v cmake >/dev/null || fail "cmake 3.25 or newer is missing: install your system's package cmake"
  command -v make >/dev/null || fail "make is missing: install your system's package make"
}

# Writes what Directory.Build.props reads: whether the adapter for ManagedCuda is compiled.
managedcuda() {
  local wanted=$1 compiled=false probe=artifacts/managedcuda
  mkdir -p "$probe"
  cat > "$probe/probe.csproj" <<'XML'
<Project Sdk="Microsoft.NET.Sdk"><ItemGroup><PackageReference Include="ManagedCuda-12" /><PackageReference Include="ManagedCuda-CUBLAS" /></ItemGroup></Project>
XML
  case "$wanted" in
    off) ;;
    on) dotnet restore "$probe" -v quiet >&2 || fail "--managedcuda on: the packages ManagedCuda-12 and ManagedCuda-CUBLAS do not restore"; compiled=true ;;
    auto) ! dotnet restore "$probe" -v quiet >/dev/null 2>&1 || compiled=true ;;
    *) fail "--managedcuda $wanted: expected auto, on or off" ;;
  esac
  echo "<Project><PropertyGroup><KernelForgeManagedCuda Condition=\"'\$(KernelForgeManagedCuda)' == ''\">$compiled</KernelForgeManagedCuda></PropertyGroup></Project>" \
    > artifacts/managedcuda.probe.props
  if [ "$compiled" = true ]; then echo "build.sh: the adapter for ManagedCuda is compiled" >&2
  else echo "build.sh: the adapter for ManagedCuda is not compiled ($([ "$wanted" = off ] && echo off || echo "its packages do not restore here")); its source is checked" >&2
  fi
}

# Compiles the native CPU library, the PTX of the CUDA kernels and the emulator; nothing when nothing changed. Arguments go to CMake.
native() {
  local warnings_are_errors=OFF
  need_cmake
  [ "${KF_REQUIRE_EMULATOR:-}" = 1 ] && warnings_are_errors=ON
  cmake -S . -B artifacts/cmake --log-level=NOTICE --no-warn-unused-cli -DCMAKE_COMPILE_WARNING_AS_ERROR=$warnings_are_errors "$@" >/dev/null
  cmake --build artifacts/cmake -j "$(nproc)" >&2
}

# The native parts where they can be had; one line says what is left out.
native_if_possible() {
  if [ "${KF_REQUIRE_EMULATOR:-}" = 1 ]; then
    native -DKF_FETCH_NVCC=ON -DKF_REQUIRE_NVCC=ON
    [ -f "$emulator" ] || fail "KF_REQUIRE_EMULATOR=1, but there is no $emulator"
  elif ! (need_cmake) 2>/dev/null; then
    echo "build.sh: cmake and make are not both here: the native CPU library, CUDA kernels and the emulator are left out" >&2
  else
    native -DKF_FETCH_NVCC=ON -DKF_REQUIRE_NVCC=OFF
  fi
}

kernels() {
  if [ "${1:-}" = --write-budgets ]; then
    shift
    need_cmake
    cmake -S . -B artifacts/cmake --log-level=NOTICE -DKF_FETCH_NVCC=ON -DKF_REQUIRE_NVCC=ON >/dev/null
    cmake --build artifacts/cmake -j "$(nproc)" --target budgets
  fi
  native -DKF_FETCH_NVCC=ON -DKF_REQUIRE_NVCC=ON "$@"
}

emulator_path() {
  [ -f "$emulator" ] || native_if_possible
  [ -f "$emulator" ] || fail "the emulator was not built"
  echo "$PWD/$emulator"
}

# The native CPU library alone: seconds. Without it the CPU device computes in C#.
cpu_library() {
  if ! (need_cmake) 2>/dev/null; then
    echo "build.sh: cmake and make are not both here: the native CPU library is left out" >&2
    return
  fi
  cmake -S . -B artifacts/cmake --log-level=ERROR -DKF_FETCH_NVCC=OFF -DKF_REQUIRE_NVCC=OFF >/dev/null
  cmake --build artifacts/cmake --target kernelforge_cpu >&2
}

# What runs a model wants kernels only where a driver could run them.
kernels_for_driver() {
  if [ -n "${KERNELFORGE_CUDA_DRIVER:-}" ] || PATH=$PATH:/sbin:/usr/sbin ldconfig -p 2>/dev/null | grep -q 'libcuda\.so'; then
    native_if_possible
  else
    echo "build.sh: no NVIDIA driver: this runs on the CPU" >&2
    cpu_library
  fi
}

demo() {
  kernels_for_driver
  dotnet build src/KernelForge.Cli -c Release -v quiet
  mkdir -p artifacts/demo
  artifacts/bin/KernelForge.Cli/release/kf run --model samples/tickets/model --input samples/tickets/prompts.jsonl \
    --output artifacts/demo/answers.jsonl --score samples/tickets/expected.jsonl --summary artifacts/demo/summary.json --overwrite "$@"
}

# Publishes a project with the runtime it needs and without the parts of it that are not used.
publish() {
  dotnet publish "$1" -c Release -r linux-x64 --self-contained -p:PublishTrimmed=true -p:TrimMode=partial \
    -p:SuppressTrimAnalysisWarnings=true -p:DebuggerSupport=false -v quiet -o "$2"
}

# The bundle is laid out like a checkout: tests find their files below the folder that holds KernelForge.sln.
bundle() {
  local folder=artifacts/bundle/kernelforge-gpu archive=artifacts/bundle/kernelforge-gpu.tar.xz limit=$((40 * 1000 * 1000)) size
  native -DKF_FETCH_NVCC=ON -DKF_REQUIRE_NVCC=ON
  rm -rf artifacts/bundle
  mkdir -p "$folder/samples/tickets" "$folder/artifacts" "$folder/native" "$folder/tests/KernelForge.Tests"
  publish tests/KernelForge.GpuTests "$folder/gpu-tests"
  publish src/KernelForge.Cli "$folder/kf"
  publish bench/KernelForge.Bench "$folder/bench"
  cp tests/KernelForge.GpuTests/run.sh KernelForge.sln LICENSE "$folder"
  cp -r bench/peers "$folder/peers"
  cp -r samples/tickets/{model,prompts.jsonl,expected.jsonl} "$folder/samples/tickets"
  [ ! -d artifacts/test-kernels ] || cp -r artifacts/test-kernels "$folder/artifacts"
  cp -r native/kernels native/include native/tests "$folder/native"
  (cd tests/KernelForge.Tests && find . -name '*.json' -exec cp --parents {} "$OLDPWD/$folder/tests/KernelForge.Tests" \;)
  tar -C artifacts/bundle --sort=name --owner=0 --group=0 -c kernelforge-gpu | xz -T0 -6 > "$archive"
  size=$(stat -c %s "$archive")
  [ "$size" -le "$limit" ] || fail "$archive has $size bytes, more than $limit"
  echo "$archive: $((size / 1000000)) MB; unpack it on a machine with an NVIDIA driver and start kernelforge-gpu/run.sh"
}

# Runs all tests, native and .NET, and ends with one line that counts them. With arguments, only the .NET ones that they pick.
run_tests() {
  local results=$PWD/artifacts/test-results status=0
  rm -rf "$results"
  native_if_possible
  rm -rf artifacts/coverage
  if [ $# -eq 0 ] && [ -d artifacts/cmake ]; then
    ctest --test-dir artifacts/cmake --output-on-failure --output-junit "$results/native.xml" || status=$?
    export KF_EMULATOR_COVER=1
  fi
  # A test that hangs is named instead of waited for.
  dotnet test KernelForge.sln -c Release --logger trx --results-directory "$results" -v quiet --blame-hang-timeout 15m --blame-hang-dump-type none "$@" || status=$?
  kernel_coverage || status=1
  count_tests "$results" "$status"
}

# How many of the kernels' source lines ran on the emulator, by file and in all, at least 95 %. Test processes leave "file:line 0" or 1.
kernel_coverage() {
  compgen -G 'artifacts/coverage/*.txt' >/dev/null || return 0
  sort -u artifacts/coverage/*.txt | awk -v floor=95 '
    $1 !~ /^native\/(kernels|include)\// { next }
    { file = $1; sub(/:[0-9]+$/, "", file) }
    !($1 in known) { known[$1]; lines[file]++; all++ }
    $2 && !($1 in covered) { covered[$1]; ran[file]++; all_ran++ }
    END {
      for (file in lines) printf "%5.1f %%  %s\n", 100 * ran[file] / lines[file], file | "sort -k3"
      close("sort -k3")
      if (all) printf "%5.1f %% of %d source lines of kernels ran on the emulator, wanted are %d %%\n", 100 * all_ran / all, all, floor
      exit 100 * all_ran < floor * all
    }'
}

count_tests() {
  local results=$1 status=$2 passed=0 failed=0 skipped=0 file
  compgen -G "$results/*.trx" >/dev/null || fail "no test result was written; the build or the test host failed (exit code $status)"
  for file in "$results"/*.trx; do
    passed=$((passed + $(counter "$file" passed)))
    failed=$((failed + $(counter "$file" failed)))
    skipped=$((skipped + $(counter "$file" total) - $(counter "$file" passed) - $(counter "$file" failed)))
  done
  file=$results/native.xml
  if [ -f "$file" ]; then
    passed=$((passed + $(counter "$file" tests) - $(counter "$file" failures) - $(counter "$file" skipped)))
    failed=$((failed + $(counter "$file" failures)))
    skipped=$((skipped + $(counter "$file" skipped)))
  fi
  [ $((passed + failed)) -gt 0 ] || fail "no test ran"
  echo "left out: $(left_out "$results" 'emulated-[a-z0-9]*') cases on the emulator, $(left_out "$results" cuda) on a GPU"
  echo "$passed passed, $failed failed, $skipped skipped"
  if [ "$status" -eq 0 ] && [ "$failed" -gt 0 ]; then status=1; fi
  return "$status"
}

# A number of the summary element of a .trx file or of CTest's.
counter() { tr '\n' ' ' < "$1" | grep -o '<\(Counters\|testsuite\) [^>]*' | grep -o "[[:space:]]$2=\"[0-9]*\"" | grep -o '[0-9]*' | head -1; }

# How many skipped cases name the device.
left_out() { cat "$1"/*.trx | grep -o "<UnitTestResult [^>]*&quot;$2&quot;[^>]*outcome=\"NotExecuted\"" | wc -l; }

verb=${1:-help}
[ $# -gt 0 ] && shift
adapter=auto arguments=()
while [ $# -gt 0 ]; do
  case "$1" in
    --managedcuda) [ $# -gt 1 ] || fail "--managedcuda: expected auto, on or off"; adapter=$2; shift 2 ;;
    *) arguments+=("$1"); shift ;;
  esac
done
set -- ${arguments[@]+"${arguments[@]}"}
case "$verb" in
  demo) need_dotnet; demo "$@" ;;
  test) need_dotnet; managedcuda "$adapter"; run_tests "$@" ;;
  kernels) kernels "$@" ;;
  emulator-path) emulator_path ;;
  bundle) need_dotnet; bundle ;;
  bench) need_dotnet; managedcuda "$adapter"; kernels_for_driver; dotnet run -c Release --project bench/KernelForge.Bench -- "$@" ;;
  pack) need_dotnet; managedcuda "$adapter"; native_if_possible; dotnet pack KernelForge.sln -c Release -v quiet "$@"; ls artifacts/package/release/*.nupkg ;;
  clean) rm -rf artifacts ;;
  help | -h | --help) usage ;;
  *) usage >&2; fail "unknown verb '$verb'" ;;
esac
