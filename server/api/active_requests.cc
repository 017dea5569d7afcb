#include "server/api/active_requests.h"

#include "server/net/io_threads.h"

namespace sluice {

ActiveRequests::Place::~Place() {
  std::lock_guard lock(requests_.mutex_);
  auto [at, end] = requests_.entries_.equal_range(id_);
  while (at != end) at = at->second.generation.expired() ? requests_.entries_.erase(at) : std::next(at);
}

std::unique_ptr<ActiveRequests::Place> ActiveRequests::add(const std::string& id, IoThread& io,
                                                           std::weak_ptr<Generation> generation) {
  std::lock_guard lock(mutex_);
  entries_.emplace(id, Entry{&io, std::move(generation)});
  return std::make_unique<Place>(*this, id);
}

bool ActiveRequests::abort(const std::string& id) {
  std::lock_guard lock(mutex_);
  const auto [begin, end] = entries_.equal_range(id);
  for (auto at = begin; at != end; ++at) {
    at->second.io->post([weak = at->second.generation] {
      if (const auto generation = weak.lock()) generation->abort();
    });
  }
  return begin != end;
}

}  // namespace sluice
