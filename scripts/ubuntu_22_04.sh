# shellcheck shell=bash
# Ubuntu 22.04 has no Boost 1.81 and no prometheus-cpp. Both come from Ubuntu 24.04, over the mirror this
# machine already uses, into build/newer; the system itself stays as it is. Sourced by scripts/setup.sh.

newer=$PWD/build/newer/usr
boost_deb=pool/main/b/boost1.83/libboost1.83-dev_1.83.0-2.1ubuntu3_amd64.deb
boost_sha256=747b364a7d578babed9efa4c40446be4ba3470ac5b2c9951b0e3bde3d7bb47d6
prometheus_source=pool/universe/p/prometheus-cpp/prometheus-cpp_1.0.2.orig.tar.gz
prometheus_sha256=65838fed64c4667140a574b78eb9f5c995bab80d575b082c9c677c6795c3c607

get_newer_libraries() {
  [ "$(dpkg --print-architecture)" = amd64 ] ||
    fail "Ubuntu 22.04 has no Boost 1.81; for this processor, please use Ubuntu 24.04, which has it"
  local mirror work=build/newer/work
  # shellcheck disable=SC2016
  mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' | head -1)
  say "Getting Boost 1.83 (headers, 10 MB) and prometheus-cpp 1.0.2 of Ubuntu 24.04 into build/newer"
  rm -rf build/newer
  mkdir -p "$work"
  /usr/lib/apt/apt-helper download-file "$mirror$boost_deb" "$work/boost.deb" "SHA256:$boost_sha256" >&2
  /usr/lib/apt/apt-helper download-file "$mirror$prometheus_source" "$work/prometheus.tar.gz" \
    "SHA256:$prometheus_sha256" >&2
  dpkg-deb --extract "$work/boost.deb" build/newer
  tar -xzf "$work/prometheus.tar.gz" -C "$work"
  cmake -G Ninja -S "$work"/prometheus-cpp-* -B "$work/build" -DCMAKE_BUILD_TYPE=Release \
    -DCMAKE_CXX_COMPILER="$(compiler)" -DCMAKE_INSTALL_PREFIX="$newer" -DCMAKE_POSITION_INDEPENDENT_CODE=ON \
    -DENABLE_PUSH=OFF -DENABLE_PULL=OFF -DENABLE_COMPRESSION=OFF -DENABLE_TESTING=OFF --log-level=WARNING >&2
  ninja -C "$work/build" install >/dev/null
  rm -rf "$work"
}

[ -e "$newer/lib/libprometheus-cpp-core.a" ] || get_newer_libraries
export CMAKE_PREFIX_PATH=$newer${CMAKE_PREFIX_PATH:+:$CMAKE_PREFIX_PATH}
