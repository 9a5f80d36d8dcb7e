#!/usr/bin/env bash
# The one entry point for building, trying and testing KernelForge. `./build.sh help` lists the verbs.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
export DOTNET_CLI_TELEMETRY_OPTOUT=1 DOTNET_NOLOGO=1
# Test hosts and compilers left running by a build server would outlive the script.
export MSBUILDDISABLENODEREUSE=1 UseSharedCompilation=false

usage() {
  cat <<'HELP'
usage: ./build.sh VERB [ARGUMENTS]

  demo    answer samples/tickets/prompts.jsonl with the demo model, score the answers, print a summary
          (arguments go to `kf run`, as in: ./build.sh demo --max-sequences 8)
  test    run all tests; the last line counts them
          (arguments go to `dotnet test`, as in: ./build.sh test --filter MatMul)
  bench   run benchmarks (arguments go to BenchmarkDotNet, as in: ./build.sh bench --filter '*MatMul*')
  pack    make the NuGet packages in artifacts/package
  clean   remove everything that was built
HELP
}

fail() { echo "build.sh: $*" >&2; exit 1; }

need_dotnet() {
  command -v dotnet >/dev/null || fail "the .NET SDK 10 is missing: install it from https://dot.net and put dotnet on the PATH"
  dotnet --version >/dev/null 2>&1 || fail "the .NET SDK 10 is missing: global.json asks for 10.0, here are: $(dotnet --list-sdks | cut -d' ' -f1 | tr '\n' ' ')"
}

demo() {
  dotnet build src/KernelForge.Cli -c Release -v quiet
  mkdir -p artifacts/demo
  artifacts/bin/KernelForge.Cli/release/kf run --model samples/tickets/model --input samples/tickets/prompts.jsonl \
    --output artifacts/demo/answers.jsonl --score samples/tickets/expected.jsonl --summary artifacts/demo/summary.json --overwrite "$@"
}

# Runs all test projects and ends with one line that counts every test that ran.
run_tests() {
  local results=artifacts/test-results status=0
  rm -rf "$results"
  dotnet test KernelForge.sln -c Release --logger trx --results-directory "$results" -v quiet "$@" || status=$?
  local total=0 passed=0 failed=0 file
  for file in "$results"/*.trx; do
    [ -f "$file" ] || fail "no test result was written; the build or the test host failed (exit code $status)"
    total=$((total + $(counter "$file" total)))
    passed=$((passed + $(counter "$file" passed)))
    failed=$((failed + $(counter "$file" failed)))
  done
  [ "$passed" -gt 0 ] || { [ "$failed" -gt 0 ] || fail "no test ran"; }
  echo "$passed passed, $failed failed, $((total - passed - failed)) skipped"
  if [ "$status" -eq 0 ] && [ "$failed" -gt 0 ]; then status=1; fi
  return "$status"
}

counter() { grep -o '<Counters [^>]*' "$1" | grep -o "[ ]$2=\"[0-9]*\"" | grep -o '[0-9]*'; }

verb=${1:-help}
[ $# -gt 0 ] && shift
case "$verb" in
  demo) need_dotnet; demo "$@" ;;
  test) need_dotnet; run_tests "$@" ;;
  bench) need_dotnet; dotnet run -c Release --project bench/KernelForge.Bench -- "$@" ;;
  pack) need_dotnet; dotnet pack KernelForge.sln -c Release -v quiet "$@"; ls artifacts/package/release/*.nupkg ;;
  clean) rm -rf artifacts ;;
  help | -h | --help) usage ;;
  *) usage >&2; fail "unknown verb '$verb'" ;;
esac
