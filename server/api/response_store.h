// The responses of /v1/responses that clients may ask for again: running ones by their face, finished ones
// whole, with the turn that a next response goes on from. Bounded in bytes; whoever was not asked for longest
// goes first. Any thread.
#pragma once

#include <atomic>
#include <list>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <unordered_map>

#include "server/api/event_log.h"
#include "server/wire/responses_answer.h"
#include "server/wire/responses_request.h"

namespace sluice {

// A response being made. Ids here are without "resp_".
struct RunningResponse {
  ResponseFace face;
  std::string input_items;                     // JSON objects joined by commas
  std::shared_ptr<const ResponseTurn> before;  // what the conversation was
  bool store = true;                           // keep it when it is finished
  std::shared_ptr<EventLog> log;               // of a streamed background response
};

class ResponseStore final : public ResponseMemory {
 public:
  explicit ResponseStore(size_t max_bytes) : max_bytes_(max_bytes) {}

  void begin(RunningResponse response);
  // Keeps the answer of a running response, or forgets the response where it is not to be stored.
  void finish(const std::string& id, FinishedResponse finished);
  // Its client left, or it was refused: no answer will come. Nothing when it is finished.
  void abandon(const std::string& id);
  // A failed one keeps its place with the error.
  void fail(const std::string& id, const Error& error);

  // The response object as it is now, or with another status while it runs.
  std::optional<std::string> body(const std::string& id, std::string_view status_if_running = "in_progress");
  // The items that came with the request; JSON objects joined by commas.
  std::optional<std::string> input_items(const std::string& id);
  std::shared_ptr<EventLog> log(const std::string& id);
  bool erase(const std::string& id);

  // ---- ResponseMemory: with the prefix, as clients write them ----
  Result<std::shared_ptr<const ResponseTurn>> turn(const std::string& response_id) const override;
  std::optional<std::string> item(const std::string& item_id) const override;

  size_t bytes() const { return *bytes_; }
  size_t count() const;

 private:
  struct Entry {
    std::string id;
    RunningResponse running;
    std::string body;  // empty while it runs
    std::shared_ptr<const ResponseTurn> turn;
    size_t input_bytes = 0;  // of turn->items, the rest is output
    size_t charged = 0;
  };
  using Entries = std::list<Entry>;  // the latest asked for first

  Entry* find(const std::string& id) const;  // and moves it to the front
  void charge(Entry& entry);
  void remove(Entries::iterator entry);
  void evict();

  const size_t max_bytes_;
  mutable std::mutex mutex_;
  mutable Entries entries_;
  std::unordered_map<std::string, Entries::iterator> by_id_;
  // Turns outlive their entry where later responses stand on them; they count as long as they live.
  const std::shared_ptr<std::atomic<size_t>> bytes_ = std::make_shared<std::atomic<size_t>>(0);
};

// 128 bits that nobody can guess, in hex.
std::string new_response_id();

}  // namespace sluice
