#!/usr/bin/env bash
# Holds kernels to native/budgets.tsv by what ptxas and the disassembler say of them; needs no GPU.
#
#   check-kernels.sh measure TOOLKIT PTX ARCH... > MEASURES       assembles PTX for each ARCH (sm_80 ...), one line per entry and architecture
#   check-kernels.sh check BUDGETS MEASURES...                    fails with one line for each kernel that is over its budget or has none
#   check-kernels.sh propose BUDGETS MEASURES...                  prints BUDGETS with lines for new kernels, without those of kernels that are gone
#
# A line: entry, architecture, registers, bytes of spill stores, bytes of spill loads, bytes of static shared memory, loop_local, the number of
# loads and stores of local memory (LDL, STL) between a backward branch and its target. A C75xx message of ptxas, which says that
# it serialised wgmma, is an error whatever the budget, and so is an entry named *_wgmma* that does not live up to its name.
set -euo pipefail

fail() { echo "check-kernels.sh: $*" >&2; exit 1; }

# What `ptxas -v` says, as lines "entry registers stores loads shared".
read_ptxas() {
  awk '
    /Compiling entry function/ { split($0, quoted, "\047"); entry = quoted[2] }
    /bytes spill stores/ {
      for (i = 2; i <= NF; i++) { if ($i == "bytes" && $(i + 2) ~ /^stores/) stores = $(i - 1); if ($i == "bytes" && $(i + 2) ~ /^loads/) loads = $(i - 1) }
    }
    /Used [0-9]+ registers/ {
      shared = 0
      for (i = 2; i <= NF; i++) { if ($i == "Used") registers = $(i + 1); if ($i == "bytes" && $(i + 1) ~ /^smem/) shared = $(i - 1) }
      if (entry != "") print entry, registers, stores, loads, shared
      entry = ""
    }'
}

# SASS of a cubin as lines "entry count": local memory accesses inside loops.
read_sass() {
  awk '
    function flush(  i, j, count) {
      if (entry == "") return
      for (i = 1; i <= accesses; i++)
        for (j = 1; j <= loops; j++)
          if (access[i] >= first[j] && access[i] <= last[j]) { count++; break }
      print entry, count + 0
      accesses = loops = 0
    }
    # mawk has no strtonum.
    function hex(text,  value, i) {
      for (i = 1; i <= length(text); i++) value = value * 16 + index("0123456789abcdef", substr(text, i, 1)) - 1
      return value
    }
    /Function :/ { flush(); entry = $NF }
    /^[ \t]*\/\*[0-9a-f]+\*\/ / {
      address = $1; gsub(/[^0-9a-f]/, "", address); address = hex(address)
      if ($0 ~ / (LDL|STL)[. ]/) access[++accesses] = address
      if ($0 ~ / BRA[. ]/ && match($0, /0x[0-9a-f]+ *;/)) {
        target = substr($0, RSTART + 2); sub(/ *;.*/, "", target); target = hex(target)
        if (target < address) { loops++; first[loops] = target; last[loops] = address }
      }
    }
    END { flush() }'
}

# What is wrong with the SASS of entries named *_wgmma*: they multiply by warpgroup (HGMMA) what tensor maps bring (UTMALDG), and use no local memory.
wgmma_faults() {
  awk '
    function flush() {
      if (entry ~ /_wgmma/ && !products) print entry, "has no HGMMA"
      if (entry ~ /_wgmma/ && !copies) print entry, "has no UTMALDG"
      if (entry ~ /_wgmma/ && local) print entry, "has", local, "accesses to local memory"
      products = copies = local = 0
    }
    /Function :/ { flush(); entry = $NF }
    / HGMMA[. ]/ { products++ }
    / UTMALDG[. ]/ { copies++ }
    / (LDL|STL)[. ]/ { local++ }
    END { flush() }'
}

measure() {
  local toolkit=$1 ptx=$2 architecture
  shift 2
  work=$(mktemp -d)
  trap 'rm -rf "$work"' EXIT
  for architecture in "$@"; do
    "$toolkit/bin/ptxas" -v -arch="$architecture" -o "$work/cubin" "$ptx" > "$work/log" 2>&1 || { cat "$work/log" >&2; fail "ptxas refuses $ptx for $architecture"; }
    if grep 'C75[0-9][0-9]' "$work/log" >&2; then fail "ptxas serialises wgmma in $ptx for $architecture"; fi
    "$toolkit/bin/cuobjdump" -sass "$work/cubin" > "$work/sass"
    if wgmma_faults < "$work/sass" | grep . >&2; then fail "$ptx for $architecture is no kernel of warpgroup products"; fi
    read_sass < "$work/sass" | sort > "$work/local"
    read_ptxas < "$work/log" | sort | join - "$work/local" |
      awk -v OFS='\t' -v architecture="$architecture" '{ print $1, architecture, $2, $3, $4, $5, $6 }'
  done
}

check() {
  awk -F '\t' '
    FNR == 1 { files++ }
    /^#/ || NF == 0 { next }
    files == 1 { budget[$1, $2] = $0; next }
    { seen[$1, $2] = 1 }
    !(($1, $2) in budget) { print $1, "for", $2, "has no line in native/budgets.tsv; ./build.sh kernels --write-budgets proposes one"; bad = 1; next }
    {
      split(budget[$1, $2], limit, "\t")
      split("entry architecture registers spill_stores spill_loads static_shared loop_local", name, " ")
      for (i = 3; i <= 7; i++) if ($i + 0 > limit[i] + 0) { print $1, "for", $2 ":", name[i], $i, "is over the budget of", limit[i] + 0; bad = 1 }
    }
    END {
      for (key in budget) if (!(key in seen)) { split(key, part, SUBSEP); print part[1], "for", part[2], "is in native/budgets.tsv, but there is no such kernel"; bad = 1 }
      exit bad
    }' "$@" >&2 || fail "kernels are not within native/budgets.tsv"
}

# Head room is what the hardware gives anyway: registers come in units of 8. Spills and local memory in a loop are never proposed:
# whoever allows them writes the number.
propose() {
  grep '^#' "$1"
  awk -F '\t' -v OFS='\t' '
    FNR == 1 { files++ }
    /^#/ || NF == 0 { next }
    files == 1 { budget[$1, $2] = $0; next }
    ($1, $2) in budget { print budget[$1, $2]; next }
    { registers = int($3 / 8 + 1) * 8; print $1, $2, (registers > 255 ? 255 : registers), 0, 0, $6, 0 }' "$@" | sort
}

verb=${1:-}
[ $# -gt 0 ] && shift
case "$verb" in
  measure | check | propose) "$verb" "$@" ;;
  *) fail "expected measure, check or propose, not '$verb'" ;;
esac
