#include "server/api/response_store.h"

#include <fmt/format.h>

#include <algorithm>
#include <random>

#include "base/log.h"

namespace sluice {
namespace {

constexpr std::string_view kPrefix = "resp_";
constexpr size_t kIdBytes = 32;

// A turn that is counted while it lives. The last one of a long conversation lets go of the others one by one
// rather than one within the other.
std::shared_ptr<const ResponseTurn> counted_turn(std::string items,
                                                 std::shared_ptr<const ResponseTurn> before,
                                                 const std::shared_ptr<std::atomic<size_t>>& bytes) {
  auto* turn = new ResponseTurn{std::move(items), std::move(before)};
  const size_t size = turn->items.size() + sizeof(ResponseTurn);
  *bytes += size;
  return {turn, [bytes, size](ResponseTurn* dying) {
            std::shared_ptr<const ResponseTurn> next = std::move(dying->before);
            delete dying;
            *bytes -= size;
            while (next != nullptr && next.use_count() == 1) {
              auto after = std::move(const_cast<ResponseTurn&>(*next).before);
              next = std::move(after);
            }
          }};
}

}  // namespace

std::string new_response_id() {
  std::random_device random;
  return fmt::format("{:08x}{:08x}{:08x}{:08x}", random(), random(), random(), random());
}

void ResponseStore::begin(RunningResponse response) {
  std::lock_guard lock(mutex_);
  entries_.emplace_front();
  Entry& entry = entries_.front();
  entry.id = response.face.id;
  entry.running = std::move(response);
  by_id_[entry.id] = entries_.begin();
  charge(entry);
  evict();
}

void ResponseStore::finish(const std::string& id, FinishedResponse finished) {
  std::lock_guard lock(mutex_);
  Entry* entry = find(id);
  if (entry == nullptr) return;
  RunningResponse& running = entry->running;
  if (!running.store) return remove(entries_.begin());
  entry->body = std::move(finished.body);
  entry->input_bytes = running.input_items.size();
  std::string items = std::move(running.input_items);
  if (!items.empty() && !finished.output.empty()) items += ',';
  items += finished.output;
  entry->turn = counted_turn(std::move(items), std::move(running.before), bytes_);
  running.input_items.clear();
  running.face = ResponseFace();
  charge(*entry);
  evict();
}

void ResponseStore::fail(const std::string& id, const Error& error) {
  std::string body;
  {
    std::lock_guard lock(mutex_);
    const Entry* entry = find(id);
    if (entry == nullptr || !entry->body.empty()) return;
    body = response_body(entry->running.face, {.status = "failed", .error = &error});
  }
  finish(id, {std::move(body), "", true});
}

void ResponseStore::abandon(const std::string& id) {
  std::lock_guard lock(mutex_);
  const Entry* entry = find(id);
  if (entry != nullptr && entry->body.empty()) remove(entries_.begin());
}

std::optional<std::string> ResponseStore::body(const std::string& id, std::string_view status_if_running) {
  std::lock_guard lock(mutex_);
  const Entry* entry = find(id);
  if (entry == nullptr) return std::nullopt;
  if (!entry->body.empty()) return entry->body;
  return response_body(entry->running.face, {.status = status_if_running});
}

std::optional<std::string> ResponseStore::input_items(const std::string& id) {
  std::lock_guard lock(mutex_);
  const Entry* entry = find(id);
  if (entry == nullptr) return std::nullopt;
  if (entry->turn == nullptr) return entry->running.input_items;
  return entry->turn->items.substr(0, entry->input_bytes);
}

std::shared_ptr<EventLog> ResponseStore::log(const std::string& id) {
  std::lock_guard lock(mutex_);
  const Entry* entry = find(id);
  return entry == nullptr ? nullptr : entry->running.log;
}

bool ResponseStore::erase(const std::string& id) {
  std::lock_guard lock(mutex_);
  if (find(id) == nullptr) return false;
  remove(entries_.begin());
  return true;
}

Result<std::shared_ptr<const ResponseTurn>> ResponseStore::turn(const std::string& response_id) const {
  std::lock_guard lock(mutex_);
  const Entry* entry = response_id.starts_with(kPrefix) ? find(response_id.substr(kPrefix.size())) : nullptr;
  if (entry == nullptr) {
    return Error{
        ErrorCode::kNotFound,
        fmt::format("Previous response with id '{}' not found: it was not stored, or had to make room "
                    "for later ones.",
                    log::safe(response_id, 64)),
        "previous_response_id"};
  }
  if (entry->turn == nullptr) {
    return invalid_argument("previous_response_id", fmt::format("The response '{}' is not finished yet.",
                                                                log::safe(response_id, 64)));
  }
  return entry->turn;
}

std::optional<std::string> ResponseStore::item(const std::string& item_id) const {
  // The ids that we make name their response: msg_<response>_<number>.
  const size_t begin = item_id.find('_');
  if (begin == std::string::npos || item_id.size() < begin + 1 + kIdBytes) return std::nullopt;
  std::shared_ptr<const ResponseTurn> turn;
  {
    std::lock_guard lock(mutex_);
    const Entry* entry = find(item_id.substr(begin + 1, kIdBytes));
    if (entry == nullptr) return std::nullopt;
    turn = entry->turn;
  }
  if (turn == nullptr) return std::nullopt;
  const std::string array = "[" + turn->items + "]";
  const auto checked = JsonText::check(array, 256);
  std::optional<std::string> found;
  if (!checked.ok()) return found;
  checked->for_each([&](JsonText item) {
    auto fields = RequestFields::of(item, "");
    if (fields.ok() && fields->string("id", 256) == item_id) found = item.text();
    return !found;
  });
  return found;
}

size_t ResponseStore::count() const {
  std::lock_guard lock(mutex_);
  return entries_.size();
}

ResponseStore::Entry* ResponseStore::find(const std::string& id) const {
  const auto found = by_id_.find(id);
  if (found == by_id_.end()) return nullptr;
  entries_.splice(entries_.begin(), entries_, found->second);
  return &*found->second;
}

void ResponseStore::charge(Entry& entry) {
  const RunningResponse& running = entry.running;
  const size_t size = sizeof(Entry) + 256 + entry.body.size() + running.input_items.size() +
                      running.face.echo.size() + (running.log != nullptr ? running.log->bytes() : 0);
  *bytes_ += size - entry.charged;
  entry.charged = size;
}

void ResponseStore::remove(Entries::iterator entry) {
  *bytes_ -= entry->charged;
  by_id_.erase(entry->id);
  entries_.erase(entry);
}

void ResponseStore::evict() {
  // What runs stays: it is bounded by what the engine takes, and its client waits for it.
  for (auto entry = entries_.end(); *bytes_ > max_bytes_ && entry != entries_.begin();) {
    --entry;
    if (entry->body.empty()) continue;
    const auto oldest = entry++;
    remove(oldest);
  }
}

}  // namespace sluice
