#!/usr/bin/env bash
# Builds ik_llama.cpp for compare.py from its source, for this machine's processor.
#
#   build_ik.sh WORK_DIR SOURCE      SOURCE: a checkout of ik_llama.cpp; needs cmake and a C++ compiler
#
# Afterwards llama_cpp.sh WORK_DIR compares with it too.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
[ $# -eq 2 ] || { sed -n '2,6p' "$0"; exit 1; }
mkdir -p "$1"; work=$(cd "$1" && pwd) source=$(cd "$2" && pwd)
cmake -S "$source" -B "$work/ik" -DCMAKE_BUILD_TYPE=Release -DGGML_NATIVE=ON -DBUILD_SHARED_LIBS=ON -DLLAMA_BUILD_TESTS=OFF -DLLAMA_BUILD_EXAMPLES=OFF \
  -DLLAMA_BUILD_SERVER=OFF -DGGML_IQK_FA_ALL_QUANTS=OFF
nice -n 10 cmake --build "$work/ik" --target llama -j "$(nproc)"
cc -O2 -march=x86-64-v3 -DIK -I "$source/include" -I "$source/ggml/include" -o "$work/ik_session" "$here/llama_session.c" \
  -L "$work/ik/src" -L "$work/ik/ggml/src" -lllama -lggml -Wl,-rpath,"$work/ik/src:$work/ik/ggml/src"
version=$(git -C "$source" log -1 --format='%h %cs' 2>/dev/null || echo unknown)
mkdir -p "$work/results"
echo "ik_llama.cpp: $version" > "$work/results/versions-ik.txt"
