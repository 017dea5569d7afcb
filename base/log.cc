#include "base/log.h"

#include <spdlog/sinks/stdout_color_sinks.h>

namespace sluice::log {

bool start(std::string_view level) {
  auto logger = std::make_shared<spdlog::logger>("", std::make_shared<spdlog::sinks::stderr_color_sink_mt>());
  logger->set_pattern("%Y-%m-%dT%H:%M:%S.%e %^%l%$ %v");
  logger->flush_on(spdlog::level::info);
  if (level == "debug") logger->set_level(spdlog::level::debug);
  else if (level == "info") logger->set_level(spdlog::level::info);
  else if (level == "warning") logger->set_level(spdlog::level::warn);
  else if (level == "error") logger->set_level(spdlog::level::err);
  else return false;
  spdlog::set_default_logger(std::move(logger));
  return true;
}

std::string safe(std::string_view text, size_t limit) {
  static constexpr char kHex[] = "0123456789abcdef";
  std::string out;
  for (char c : text.substr(0, limit)) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte >= 0x20 && byte < 0x7f) {
      out.push_back(c);
    } else {
      out += "\\x";
      out.push_back(kHex[byte >> 4]);
      out.push_back(kHex[byte & 15]);
    }
  }
  if (text.size() > limit) out += "…";
  return out;
}

}  // namespace sluice::log
