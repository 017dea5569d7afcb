#include "server/wire/kv_event_lines.h"

#include <array>

#include "server/wire/json_out.h"

namespace sluice {
namespace {

using Kind = KvEvent::Kind;

// Hashes are text: 64 bits do not fit a number of JavaScript's.
void append_hash(std::string& out, uint64_t hash) {
  constexpr char kDigits[] = "0123456789abcdef";
  std::array<char, 18> text;
  text.front() = text.back() = '"';
  for (size_t i = 16; i > 0; --i, hash >>= 4) text[i] = kDigits[hash & 15];
  out.append(text.data(), text.size());
}

void append_hash_field(std::string& out, std::string_view name, uint64_t hash) {
  out += ",\"";
  out += name;
  out += "\":";
  append_hash(out, hash);
}

void append_begin(std::string& out, const KvEvent& event, std::string_view name) {
  out += "{\"seq\":";
  append_json(out, static_cast<int64_t>(event.sequence));
  out += ",\"event\":\"";
  out += name;
  out += '"';
}

void append_life(std::string& out, const KvEvent& event, std::string_view name) {
  append_begin(out, event, name);
  append_json_member(out, "request", event.name());
  append_json_member(out, "choice", event.choice);
}

std::string_view word_of(FinishReason reason) {
  switch (reason) {
    case FinishReason::kStop:
      return "stop";
    case FinishReason::kLength:
      return "length";
    case FinishReason::kCancelled:
      return "cancelled";
    case FinishReason::kDeadline:
      return "deadline";
    default:
      return "error";
  }
}

void append_load(std::string& out, const KvLoad& load) {
  append_json_member(out, "running", load.running);
  append_json_member(out, "waiting", load.waiting);
  append_json_member(out, "waiting_uncached_tokens", load.waiting_uncached_tokens);
  append_json_member(out, "prefilling_tokens", load.prefilling_tokens);
  append_json_member(out, "kv_blocks_total", load.kv_blocks_total);
  append_json_member(out, "kv_blocks_used", load.kv_blocks_used);
  append_json_member(out, "kv_blocks_cached", load.kv_blocks_cached);
  append_json_member(out, "prefill_tokens_per_s", load.prefill_tokens_per_s);
  append_json_member(out, "decode_step_s", load.decode_step_s);
}

void append_line(std::string& out, const KvEvent& event) {
  switch (event.kind) {
    case Kind::kStored:
      append_begin(out, event, "stored");
      append_hash_field(out, "hash", event.hash);
      append_hash_field(out, "parent", event.parent);
      break;
    case Kind::kEvicted:
      append_begin(out, event, "evicted");
      append_hash_field(out, "hash", event.hash);
      break;
    case Kind::kAdmitted:
      append_life(out, event, "admitted");
      append_json_member(out, "prompt_tokens", event.prompt_tokens);
      append_json_member(out, "cached_tokens", event.cached_tokens);
      append_json_member(out, "blocks", event.prompt_blocks);
      append_hash_field(out, "hash", event.hash);
      break;
    case Kind::kPrefilled:
      append_life(out, event, "prefilled");
      break;
    case Kind::kFinished:
      append_life(out, event, "finished");
      out += ",\"reason\":\"";
      out += word_of(event.reason);
      out += '"';
      append_json_member(out, "generated", event.generated);
      break;
    case Kind::kLoad:
      append_begin(out, event, "load");
      append_load(out, event.load);
      break;
    case Kind::kHeldAll:
      out += R"({"event":"snapshot_end")";
      append_json_member(out, "settled", static_cast<int64_t>(event.sequence));
      break;
    case Kind::kHeld:
      break;  // its line is append_held's
  }
  out += "}\n";
}

void append_held(std::string& out, std::span<const KvEvent> events) {
  out += R"({"event":"snapshot","blocks":[)";
  for (const KvEvent& event : events) {
    if (&event != events.data()) out += ',';
    append_hash(out, event.hash);
    out += ',';
    append_hash(out, event.parent);
  }
  out += "]}\n";
}

}  // namespace

void append_hello(std::string& out, const KvHello& hello) {
  out += R"({"event":"hello")";
  append_hash_field(out, "epoch", hello.start.epoch);
  append_json_member(out, "next", static_cast<int64_t>(hello.start.next));
  append_json_member(out, "resumed", hello.start.resumed);
  append_json_member(out, "block_tokens", hello.block_tokens);
  append_json_member(out, "max_num_seqs", hello.max_num_seqs);
  out += R"(,"hash":")";
  out += kBlockHashName;
  out += R"(","models":[)";
  for (const std::string& model : hello.models) {
    if (&model != hello.models.data()) out += ',';
    append_json_string(out, model);
  }
  out += "]}\n";
}

void append_lines(std::string& out, std::span<const KvEvent> events) {
  while (!events.empty()) {
    size_t held = 0;
    while (held < std::min(events.size(), kLineBlocks) && events[held].kind == Kind::kHeld) ++held;
    if (held > 0)
      append_held(out, events.first(held));
    else
      append_line(out, events.front());
    events = events.subspan(std::max<size_t>(held, 1));
  }
}

void append_heartbeat(std::string& out, uint64_t next) {
  out += R"({"event":"heartbeat")";
  append_json_member(out, "next", static_cast<int64_t>(next));
  out += "}\n";
}

void append_ending(std::string& out, KvEventReader::State state) {
  out += state == KvEventReader::State::kLost ? R"({"event":"lost"})" : R"({"event":"closing"})";
  out += '\n';
}

}  // namespace sluice
