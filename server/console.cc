#include "server/console.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/log.h"

namespace sluice {
namespace {

constexpr std::chrono::seconds kInterval{10};

struct Watch : std::enable_shared_from_this<Watch> {
  Watch(IoThread& thread, const ServiceSlot& service_slot) : io(thread), slot(service_slot) {}

  void tick() {
    const auto service = slot.peek();
    if (service == nullptr) return;
    const EngineStats now = service->engine->stats();
    const Clock::time_point time = Clock::now();
    const std::string line = console_line(before, now, std::chrono::duration<double>(time - since).count());
    if (!line.empty()) log::info("{}", line);
    before = now;
    since = time;
    io.run_after(kInterval, [self = shared_from_this()] { self->tick(); });
  }

  IoThread& io;
  const ServiceSlot& slot;
  EngineStats before;
  Clock::time_point since = Clock::now();
};

}  // namespace

std::string console_line(const EngineStats& before, const EngineStats& now, double seconds) {
  const uint64_t prompt = now.prompt_tokens - before.prompt_tokens;
  const uint64_t generated = now.generation_tokens - before.generation_tokens;
  if (prompt == 0 && generated == 0 && now.running == 0 && now.waiting == 0) return "";
  const auto rate = [&](uint64_t count) { return static_cast<double>(count) / std::max(seconds, 1e-3); };
  const uint64_t asked = now.prefix_cache_queries - before.prefix_cache_queries;
  const uint64_t found = now.prefix_cache_hits - before.prefix_cache_hits;
  return fmt::format(
      "prompt {:.1f} tokens/s, generation {:.1f} tokens/s, running {}, waiting {}, KV cache {:.1f}%, prefix "
      "hits {:.1f}%",
      rate(prompt), rate(generated), now.running, now.waiting,
      100.0 * static_cast<double>(now.kv_blocks_used) /
          std::max<double>(1, static_cast<double>(now.kv_blocks_total)),
      100.0 * static_cast<double>(found) / std::max<double>(1, static_cast<double>(asked)));
}

void start_console(IoThread& io, const ServiceSlot& slot) {
  auto watch = std::make_shared<Watch>(io, slot);
  io.post([watch] { watch->tick(); });
}

}  // namespace sluice
