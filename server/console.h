// One line each ten seconds while the engine works: throughputs, requests, KV cache, prefix hits. Lives on an
// I/O thread.
#pragma once

#include <memory>

#include "server/api/model_service.h"
#include "server/net/io_threads.h"

namespace sluice {

// Goes on until the slot is cleared; `slot` outlives `io`'s last task.
void start_console(IoThread& io, const ServiceSlot& slot);

// The line for what happened between two moments `seconds` apart; empty when nothing did.
std::string console_line(const EngineStats& before, const EngineStats& now, double seconds);

}  // namespace sluice
