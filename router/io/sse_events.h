// Streams of server-sent events on their way through: told apart only where that is needed. Pure; one thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace sluice::router {

// What a stream that may have to go on elsewhere has told so far: the ids of its tokens, taken out of its
// events (`token_ids`, docs/api.md of the server) where the client did not ask for them.
class ToldTokens {
 public:
  explicit ToldTokens(bool strip) : strip_(strip) {}

  // `events` are whole ones; what of them goes to the client is appended to `out`. Stops before an event that
  // tells of an error, and says so.
  bool pass(std::string_view events, std::string& out);

  const std::vector<int32_t>& ids() const { return ids_; }
  // The event before which pass() stopped.
  const std::string& error_event() const { return error_event_; }

 private:
  void pass_event(std::string_view event, std::string& out);

  const bool strip_;
  std::vector<int32_t> ids_;
  std::string error_event_;
};

// Whether the last of these whole events is one after which an API's stream has nothing more to say.
bool is_last_event(std::string_view events);

// How many events carry data: about as many as tokens.
size_t count_events(std::string_view events);

}  // namespace sluice::router
