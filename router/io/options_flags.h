// What several files of flags have in common: times and sizes, each with its unit and its bounds.
#pragma once

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <string>

#include "router/core/units.h"

namespace sluice::router {

inline void add_seconds(CLI::App& app, const std::string& flag, Seconds& time, const std::string& about,
                        const std::string& group) {
  app.add_option(flag, time, about)
      ->type_name("SECONDS")
      ->capture_default_str()
      ->check(CLI::Range(0.001, 86400.0))
      ->group(group);
}

template <class Bytes>
void add_bytes(CLI::App& app, const std::string& flag, Bytes& bytes, const std::string& about,
               const std::string& group) {
  app.add_option(flag, bytes, about)
      ->type_name("BYTES")
      ->default_str(fmt::format("{}MiB", bytes >> 20))
      ->transform(CLI::AsSizeValue(false))
      ->check(CLI::Range(uint64_t{1} << 16, uint64_t{1} << 42))
      ->group(group);
}

}  // namespace sluice::router
