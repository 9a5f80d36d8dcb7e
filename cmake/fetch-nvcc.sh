#!/usr/bin/env bash
# Lays out a private CUDA 12.4 compiler in FOLDER (default: .cuda of this checkout) on Debian, x86-64, without installing anything.
#
#   cmake/fetch-nvcc.sh [FOLDER]
#
# The packages come from the `trixie` suite of the archive that this machine's own apt is configured for, through a private apt root:
# signatures are checked with Debian's keyring, the system is left alone, root is not needed. Only the compiler is kept, 190 MB of 1 GB.
# A finished FOLDER is left as it is. A broken run leaves its downloads in FOLDER.partial, where the next run goes on.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

target=${1:-$PWD/.cuda}
partial=$target.partial
suite=trixie
keyring=/usr/share/keyrings/debian-archive-keyring.gpg

fail() { echo "fetch-nvcc.sh: $*" >&2; exit 1; }

works() { "$1/bin/nvcc" --version 2>/dev/null | grep -q 'release 12\.4'; }

# The archive that serves this machine's own Debian release.
archive_uri() {
  local codename
  codename=$(. /etc/os-release && echo "${VERSION_CODENAME:-}")
  apt-get indextargets --format '$(RELEASE) $(COMPONENT) $(REPO_URI)' 'Created-By: Packages' |
    awk -v codename="$codename" '$2 == "main" && ($1 == codename || $1 == "stable") { print $3; exit }'
}

private_apt() {
  apt-get -q -o Dir::Etc::SourceList="$partial/apt/archive.sources" -o Dir::Etc::SourceParts=/dev/null \
    -o Dir::Etc::Preferences=/dev/null -o Dir::Etc::PreferencesParts=/dev/null \
    -o Dir::State::Lists="$partial/apt/lists" -o Dir::Cache="$partial/apt/cache" \
    -o APT::Sandbox::User="$(id -un)" -o Acquire::Languages=none -o Acquire::Retries=3 "$@"
}

download() {
  local uri
  uri=$(archive_uri)
  [ -n "$uri" ] || fail "apt names no archive for this Debian release; install CUDA 12.4 or newer and set CUDA_HOME"
  mkdir -p "$partial/apt/lists/partial" "$partial/apt/cache/archives/partial" "$partial/packages"
  printf 'Types: deb\nURIs: %s\nSuites: %s\nComponents: main contrib non-free\nArchitectures: amd64\nSigned-By: %s\n' \
    "$uri" "$suite" "$keyring" > "$partial/apt/archive.sources"
  private_apt update > "$partial/log" 2>&1 || { cat "$partial/log" >&2; fail "apt-get update of suite $suite failed"; }
  (cd "$partial/packages" && private_apt download nvidia-cuda-toolkit nvidia-cuda-dev libcu++-dev) > "$partial/log" 2>&1 ||
    { cat "$partial/log" >&2; fail "the download failed; run again to go on from here"; }
}

# Unpacks paths of one package below $partial/unpacked.
unpack() {
  local package=("$partial/packages/$1"_*.deb)
  shift
  dpkg-deb --fsys-tarfile "${package[-1]}" | tar -x -C "$partial/unpacked" "$@"
}

# Debian spreads the toolkit over /usr; nvcc finds its parts by the layout NVIDIA gives them.
lay_out() {
  local usr=$partial/unpacked/usr tree=$partial/tree
  rm -rf "$partial/unpacked" "$tree"
  mkdir -p "$partial/unpacked" "$tree/bin" "$tree/nvvm/bin" "$tree/nvvm/libdevice"
  unpack nvidia-cuda-toolkit ./usr/bin ./usr/lib/nvidia-cuda-toolkit
  unpack nvidia-cuda-dev ./usr/include
  unpack libcu++-dev ./usr/include
  local tool
  for tool in ptxas fatbinary cudafe++ nvlink cuobjdump nvdisasm bin2c cu++filt; do cp "$usr/bin/$tool" "$tree/bin/"; done
  cp "$usr/lib/nvidia-cuda-toolkit/bin/nvcc" "$tree/bin/"
  cp -r "$usr/lib/nvidia-cuda-toolkit/bin/crt" "$tree/bin/"
  cp "$usr/lib/nvidia-cuda-toolkit/bin/cicc" "$tree/nvvm/bin/"
  cp "$usr/lib/nvidia-cuda-toolkit/libdevice/"*.bc "$tree/nvvm/libdevice/"
  cp -r "$usr/include" "$tree/include"
  cat > "$tree/bin/nvcc.profile" <<'PROFILE'
TOP = $(_HERE_)/..
NVVMIR_LIBRARY_DIR = $(TOP)/nvvm/libdevice
PATH += $(TOP)/nvvm/bin:$(_HERE_):
INCLUDES += "-I$(TOP)/include" $(_SPACE_)
PROFILE
}

# A kernel that needs cicc, libdevice, the headers and ptxas.
try_out() {
  local tree=$1 work=$partial/trial
  mkdir -p "$work"
  cat > "$work/trial.cu" <<'KERNEL'
#include <cuda_fp16.h>
extern "C" __global__ void trial(__half* x) { x[threadIdx.x] = __float2half(sinf(__half2float(x[threadIdx.x]))); }
KERNEL
  "$tree/bin/nvcc" -ptx -gencode=arch=compute_90a,code=compute_90a -o "$work/trial.ptx" "$work/trial.cu" &&
    "$tree/bin/ptxas" -arch=sm_90a -o "$work/trial.cubin" "$work/trial.ptx" &&
    "$tree/bin/cuobjdump" -sass "$work/trial.cubin" | grep -q EXIT
}

if works "$target"; then exit 0; fi
[ "$(uname -m)" = x86_64 ] && [ -f "$keyring" ] && command -v apt-get >/dev/null ||
  fail "this is no x86-64 Debian; install CUDA 12.4 or newer from https://developer.nvidia.com/cuda-downloads and set CUDA_HOME"
mkdir -p "$partial"
target=$(realpath "$target") partial=$(realpath "$partial")

echo "fetch-nvcc.sh: fetching nvcc 12.4 from Debian $suite into ${target##*/} (1 GB to download, 190 MB to keep)" >&2
download
lay_out
try_out "$partial/tree" || fail "the compiler in $partial/tree does not work"
rm -rf "$target"
mv "$partial/tree" "$target"
rm -rf "$partial"
echo "fetch-nvcc.sh: $("$target/bin/nvcc" --version | tail -1)" >&2
