// The engine's events as lines of JSON, as GET /kv_events streams them (docs/kv_events.md). Any thread.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "engine/kv_events.h"

namespace sluice {

struct KvHello {
  KvEventReader::Start start;
  int block_tokens = 0;
  int max_num_seqs = 0;  // sequences that run at once
  std::vector<std::string> models;
};

void append_hello(std::string& out, const KvHello& hello);
// The blocks of a snapshot share lines, of at most kLineBlocks each.
inline constexpr size_t kLineBlocks = 128;
void append_lines(std::string& out, std::span<const KvEvent> events);
// Nothing happened; `next` is the number of the event that comes next.
void append_heartbeat(std::string& out, uint64_t next);
// The last line: "lost" (the reader was too slow) or "closing" (the server stops).
void append_ending(std::string& out, KvEventReader::State state);

}  // namespace sluice
