// Who may use what: the keys of --api-key, --api-key-file and --admin-api-key. Any thread; the file's keys
// may be exchanged while requests are judged.
#pragma once

#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "base/result.h"
#include "server/net/http_message.h"
#include "server/net/routes.h"

namespace sluice {

struct Keys {
  std::vector<std::string> users;      // --api-key
  std::vector<std::string> from_file;  // --api-key-file
  std::vector<std::string> operators;  // --admin-api-key
};

class KeyRing {
 public:
  explicit KeyRing(Keys keys) : keys_(std::make_shared<const Keys>(std::move(keys))) {}

  // By 'Authorization: Bearer KEY' or, as Anthropic's clients send it, 'x-api-key: KEY'. Without any user's
  // key everybody is a user; without an operator's key every user is an operator. An operator's key opens
  // everything.
  bool admits(const HeaderList& headers, Access access) const;
  void replace_file_keys(std::vector<std::string> keys);
  size_t user_keys() const;

 private:
  std::shared_ptr<const Keys> snapshot() const;

  mutable std::mutex mutex_;
  std::shared_ptr<const Keys> keys_;
};

// One key a line; empty lines and lines that begin with '#' are passed over. An Error when there is none.
Result<std::vector<std::string>> read_key_file(const std::string& path);

// Takes the same time for every wrong key of a length.
bool is_one_of(std::string_view given, const std::vector<std::string>& keys);

}  // namespace sluice
