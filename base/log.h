// Log lines: time, level, one sentence. A thin door to spdlog so that nothing else in the house names it. Any
// thread. Text that came from outside goes through `safe`, so that it cannot move a terminal's cursor or
// forge a line.
#pragma once

#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include <string>
#include <string_view>

namespace sluice::log {

template <class... A>
void debug(fmt::format_string<A...> format, A&&... a) { spdlog::debug(format, std::forward<A>(a)...); }
template <class... A>
void info(fmt::format_string<A...> format, A&&... a) { spdlog::info(format, std::forward<A>(a)...); }
template <class... A>
void warn(fmt::format_string<A...> format, A&&... a) { spdlog::warn(format, std::forward<A>(a)...); }
template <class... A>
void error(fmt::format_string<A...> format, A&&... a) { spdlog::error(format, std::forward<A>(a)...); }

// Lines go to stderr from here on. `level`: debug, info, warning, error. False when the level is not one of
// these.
bool start(std::string_view level);

// `text` with control characters and non-ASCII escaped, cut after `limit` bytes.
std::string safe(std::string_view text, size_t limit = 200);

}  // namespace sluice::log
