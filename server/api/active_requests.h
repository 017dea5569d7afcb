// The requests that generate now, by the id their clients know: what DELETE looks in. Any thread.
#pragma once

#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <unordered_map>

#include "server/api/generation.h"

namespace sluice {

class ActiveRequests {
 public:
  // While it lives, the request can be found.
  class Place {
   public:
    Place(ActiveRequests& requests, std::string id) : requests_(requests), id_(std::move(id)) {}
    ~Place();
    Place(const Place&) = delete;
    Place& operator=(const Place&) = delete;

   private:
    ActiveRequests& requests_;
    const std::string id_;
  };

  // `io`: the thread of its exchange.
  std::unique_ptr<Place> add(const std::string& id, IoThread& io, std::weak_ptr<Generation> generation);
  // Ends all requests of that id, soon and on their own threads. False: there is none.
  bool abort(const std::string& id);

 private:
  struct Entry {
    IoThread* io;
    std::weak_ptr<Generation> generation;
  };
  std::mutex mutex_;
  std::unordered_multimap<std::string, Entry> entries_;  // clients may choose the same id twice
};

}  // namespace sluice
