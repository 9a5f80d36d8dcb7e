#!/usr/bin/env bash
# Compares KernelForge with llama.cpp, and with ik_llama.cpp where it is there, on the same models, in turns.
#
#   llama_cpp.sh WORK_DIR [--quick] [step ...]     steps: fetch models build run serve growth report
#                                                  default: fetch models build run serve report; hours, with --quick a quarter of one
#
#   fetch    llama.cpp into WORK_DIR: the prebuilt libraries of an npm package, and Debian's with its llama-server, unpacked and not installed
#   models   random weights with a known answer as GGUF and Hugging Face folders (make_models.py, needs python3-numpy), then ours in BF16 and with 4 bits
#   build    this repository, and llama_session.c
#   run      decode and prompts: tokens/s
#   serve    32 requests behind one prefix, 40 behind ten: kf run and llama-server
#   growth   ours against batch, prefix and threads
#   report   tables of all results, in Markdown
#
# A step that was interrupted goes on where it was. Results are JSON lines in WORK_DIR/results. ik_llama.cpp: build_ik.sh.
# Environment: THREADS (one for each core)  ROUNDS (5)  ONLY (cases with this in their name)  SIDE (sides with this)  SUITE (forky)  LLAMA_NPM (3.22.1)
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
[ $# -ge 1 ] || { sed -n '2,18p' "$0"; exit 1; }
mkdir -p "$1"; work=$(cd "$1" && pwd); shift
quick=(); [ "${1:-}" != --quick ] || { quick=(--quick); shift; }
steps=${*:-fetch models build run serve report}
export MSBUILDDISABLENODEREUSE=1 UseSharedCompilation=false DOTNET_NOLOGO=1
debian=$work/root npm=$work/llama-npm/package/bins/linux-x64 bench=$here/../../artifacts/bin/KernelForge.Bench/release/KernelForge.Bench.dll
mkdir -p "$work/results"

fetch() {
  mkdir -p "$work/llama-npm"
  [ -d "$npm" ] || ( cd "$work/llama-npm" && npm pack --silent "@node-llama-cpp/linux-x64@${LLAMA_NPM:-3.22.1}" && tar xzf ./*.tgz )
  [ -x "$debian/usr/bin/llama-server" ] || fetch_debian
  { echo "llama.cpp npm: $(grep -o '"release":"[^"]*"' "$npm/_nlcBuildMetadata.json" | cut -d'"' -f4)"
    echo "llama.cpp deb: $(dpkg-deb -f "$work"/apt/cache/archives/llama.cpp-tools_*.deb Version)"
    grep -m1 'model name' /proc/cpuinfo; } > "$work/results/versions.txt"
}

fetch_debian() {
  local uri key lists=$work/apt
  mkdir -p "$lists"/{lists/partial,cache/archives/partial,parts} "$debian"
  uri=$(grep -rhoE 'https?://[^ ]+/debian/?( |$)' /etc/apt/sources.list /etc/apt/sources.list.d 2>/dev/null | head -1 | tr -d ' ')
  key=$(ls /usr/share/keyrings/debian-archive-keyring.* | head -1)
  printf 'Types: deb\nURIs: %s\nSuites: %s\nComponents: main\nSigned-By: %s\n' "$uri" "${SUITE:-forky}" "$key" > "$lists/s.sources"
  : > "$lists/status"
  local options=(-o "Dir::Etc::SourceList=$lists/s.sources" -o "Dir::Etc::SourceParts=$lists/parts" -o "Dir::State::Lists=$lists/lists"
                 -o "Dir::Cache=$lists/cache" -o "Dir::State::status=$lists/status" -o APT::Install-Recommends=false
                 -o Debug::NoLocking=1 -o APT::Sandbox::User=root)
  apt-get "${options[@]}" -qq update
  apt-get "${options[@]}" -qq -y --download-only install base-files llama.cpp-tools libgomp1 > /dev/null
  dpkg -x "$lists"/cache/archives/base-files_*.deb "$debian" # first: it makes /lib a link to /usr/lib
  for package in "$lists"/cache/archives/*.deb; do dpkg -x "$package" "$debian"; done
}

numpy_python() { # Debian's package is for its own python3, whatever else comes first in the PATH
  if python3 -c 'import numpy' 2>/dev/null; then python3 "$@"; else /usr/bin/python3 "$@"; fi
}

models() {
  for model in 110m 1b; do
    for format in bf16.gguf f16.gguf q4_0.gguf hf/tokenizer.json; do
      [ -f "$work/models/kf-$model-$format" ] || { numpy_python "$here/make_models.py" "$work/models" --models $model; break; }
    done
    [ -f "$bench" ] || build
    for format in bf16 w4g128 w4g32; do
      local folder=$work/models/kf-$model-$format-hf
      [ -f "$folder/config.json" ] || dotnet "$bench" weights "$work/models/kf-$model-hf" "$folder" $format
    done
  done
}

build() {
  cc -O2 -march=x86-64-v3 -o "$work/llama_session" "$here/llama_session.c" -ldl
  cd "$here/../.."
  cmake -S . -B artifacts/cmake --log-level=NOTICE --no-warn-unused-cli > /dev/null && cmake --build artifacts/cmake --target kernelforge_cpu > /dev/null \
    || echo "llama_cpp.sh: without the native CPU library, so BF16 and int8 activations are computed in C#" >&2
  dotnet build bench/KernelForge.Bench -c Release -v quiet --nologo && dotnet build src/KernelForge.Cli -c Release -v quiet --nologo
}

compare() {
  python3 "$here/compare.py" "$1" "$work" "${quick[@]}" --threads "${THREADS:-$(nproc)}" --rounds "${ROUNDS:-5}" --only "${ONLY:-}" --side "${SIDE:-}"
}

for step in $steps; do
  case $step in
    fetch|models|build) $step ;;
    run|serve|growth|report) compare "$step" ;;
    *) echo "llama_cpp.sh: unknown step $step" >&2; exit 1 ;;
  esac
done
