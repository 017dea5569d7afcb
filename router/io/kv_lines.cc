#include "router/io/kv_lines.h"

#include <charconv>
#include <optional>
#include <utility>

#include "server/wire/json_walk.h"

namespace sluice::router {
namespace {

using Kind = KvEvent::Kind;

// The fields that any line may have.
struct Line {
  std::string_view event, request, hash, parent, blocks, epoch, hash_name;
  uint64_t seq = 0, next = 0, settled = 0;
  bool resumed = false;
  uint64_t block_tokens = 0, max_num_seqs = 0, choice = 0;
  uint64_t prompt_tokens = 0, cached_tokens = 0, prompt_blocks = 0;
  uint64_t running = 0, waiting = 0, waiting_uncached_tokens = 0, prefilling_tokens = 0;
  uint64_t blocks_total = 0, blocks_used = 0;
};

uint64_t number(std::string_view text) {
  uint64_t value = 0;
  std::from_chars(text.data(), text.data() + text.size(), value);
  return value;
}

uint32_t number32(uint64_t value) {
  return static_cast<uint32_t>(value < 0xffffffffU ? value : 0xffffffffU);
}

std::string_view unquoted(std::string_view text) {
  return is_json_string(text) ? text.substr(1, text.size() - 2) : std::string_view();
}

std::optional<uint64_t> hash_of(std::string_view digits) {
  uint64_t value = 0;
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), value, 16);
  if (error != std::errc() || end != digits.data() + digits.size()) return std::nullopt;
  return value;
}

void take_field(Line& line, std::string_view name, std::string_view value) {
  struct Number {
    std::string_view name;
    uint64_t Line::*field;
  };
  struct Text {
    std::string_view name;
    std::string_view Line::*field;
  };
  static constexpr Text kTexts[] = {{"event", &Line::event},
                                    {"request", &Line::request},
                                    {"parent", &Line::parent},
                                    {"hash", &Line::hash},
                                    {"epoch", &Line::epoch}};
  static constexpr Number kNumbers[] = {{"seq", &Line::seq},
                                        {"next", &Line::next},
                                        {"choice", &Line::choice},
                                        {"prompt_tokens", &Line::prompt_tokens},
                                        {"cached_tokens", &Line::cached_tokens},
                                        {"running", &Line::running},
                                        {"waiting", &Line::waiting},
                                        {"waiting_uncached_tokens", &Line::waiting_uncached_tokens},
                                        {"prefilling_tokens", &Line::prefilling_tokens},
                                        {"kv_blocks_total", &Line::blocks_total},
                                        {"kv_blocks_used", &Line::blocks_used},
                                        {"settled", &Line::settled},
                                        {"block_tokens", &Line::block_tokens},
                                        {"max_num_seqs", &Line::max_num_seqs}};
  if (value.front() == '"') {
    for (const Text& text : kTexts) {
      if (name == text.name) line.*text.field = unquoted(value);
    }
  } else if (name == "blocks" && value.front() == '[') {
    line.blocks = value;
  } else if (name == "resumed") {
    line.resumed = value == "true";
  } else {
    for (const Number& each : kNumbers) {
      if (name == each.name) line.*each.field = number(value);
    }
  }
}

}  // namespace

void KvLines::broken(std::string what) {
  state_ = State::kBroken;
  fault_ = std::move(what);
}

KvLines::State KvLines::take(std::string_view bytes) {
  while (!bytes.empty() && state_ == State::kReading) {
    const size_t end = bytes.find('\n');
    if (kept_.size() + std::min(end, bytes.size()) > kMaxLineBytes) {
      broken("a line is longer than 64 KiB");
      break;
    }
    if (end == std::string_view::npos) {
      kept_.append(bytes);
      break;
    }
    if (kept_.empty()) {
      take_line(bytes.substr(0, end));
    } else {
      kept_.append(bytes.substr(0, end));
      const std::string line = std::exchange(kept_, {});
      take_line(line);
    }
    bytes.remove_prefix(end + 1);
  }
  return state_;
}

void KvLines::take_line(std::string_view text) {
  if (text.empty()) return;
  Line line;
  JsonWalk walk(text);
  std::string_view name, value;
  if (!walk.enter_object()) return broken("a line is not a JSON object");
  while (walk.member(name, value)) take_field(line, name, value);
  if (walk.failed() || !walk.at_end()) return broken("a line is not valid JSON");

  if (line.event == "hello") {
    if (greeted_) return broken("a second hello");
    const auto epoch = hash_of(line.epoch);
    if (!epoch || line.next == 0) return broken("a hello without epoch and next");
    greeted_ = true;
    KvHello hello{*epoch,
                  line.next,
                  line.resumed,
                  number32(line.block_tokens),
                  std::string(line.hash),
                  number32(line.max_num_seqs)};
    epoch_ = hello.epoch;
    listener_.on_hello(hello);
    KvEvent begin{.kind = hello.resumed ? Kind::kResumed : Kind::kSnapshotBegin,
                  .epoch = epoch_,
                  .sequence = hello.resumed ? hello.next : hello.next - 1};
    return listener_.on_event(begin, {});
  }
  if (!greeted_) return broken("the stream does not begin with a hello");
  if (line.event == "snapshot") return take_snapshot(line.blocks);
  if (line.event == "snapshot_end") {
    KvEvent end{.kind = Kind::kSnapshotEnd, .epoch = epoch_, .sequence = line.settled};
    return listener_.on_event(end, {});
  }
  if (line.event == "lost") {
    state_ = State::kEnded;
    return;
  }
  if (line.event == "closing") {
    state_ = State::kClosing;
    return;
  }
  if (line.seq == 0) return;  // a heartbeat, or an event of a later version without a number

  KvEvent event{.kind = Kind::kFinished, .epoch = epoch_, .sequence = line.seq};
  if (line.event == "stored" || line.event == "evicted") {
    const auto hash = hash_of(line.hash);
    const auto parent = line.event == "stored" ? hash_of(line.parent) : std::optional<uint64_t>(0);
    if (!hash || !parent) return broken("a block without its hash");
    event.kind = line.event == "stored" ? Kind::kStored : Kind::kEvicted;
    event.hash = *hash;
    event.parent = *parent;
  } else if (line.event == "admitted") {
    event.kind = Kind::kAdmitted;
    event.prompt_tokens = number32(line.prompt_tokens);
    event.cached_tokens = number32(line.cached_tokens);
    event.hash = hash_of(line.hash).value_or(0);
  } else if (line.event == "prefilled") {
    event.kind = Kind::kPrefilled;
  } else if (line.event == "load") {
    event.kind = Kind::kLoad;
    event.running = number32(line.running);
    event.waiting = number32(line.waiting);
    event.prefill_tokens = line.waiting_uncached_tokens + line.prefilling_tokens;
    event.kv_usage = line.blocks_total > 0
                         ? static_cast<double>(line.blocks_used) / static_cast<double>(line.blocks_total)
                         : 0;
  }  // what a later version may tell has a number that counts, and no meaning here
  // Of a request's several prompts and answers the first stands for all.
  if (line.choice > 0) line.request = {};
  listener_.on_event(event, line.request);
}

void KvLines::take_snapshot(std::string_view blocks) {
  JsonWalk walk(blocks);
  std::string_view hash, parent;
  if (!walk.enter_array()) return broken("a snapshot without blocks");
  while (walk.element(hash)) {
    if (!walk.element(parent)) return broken("a block without its parent");
    const auto known = hash_of(unquoted(hash)), before = hash_of(unquoted(parent));
    if (!known || !before) return broken("a block without its hash");
    KvEvent event{.kind = Kind::kHeld, .epoch = epoch_, .hash = *known, .parent = *before};
    listener_.on_event(event, {});
  }
}

}  // namespace sluice::router
