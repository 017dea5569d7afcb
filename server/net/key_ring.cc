#include "server/net/key_ring.h"

#include <fstream>

namespace sluice {
namespace {

constexpr size_t kMaxKeys = 10000;
constexpr size_t kMaxKeyBytes = 1024;

std::string_view key_of(const HeaderList& headers) {
  static constexpr std::string_view kBearer = "Bearer ";
  if (const std::string* bearer = headers.find("authorization")) {
    if (std::string_view(*bearer).starts_with(kBearer))
      return std::string_view(*bearer).substr(kBearer.size());
  }
  const std::string* key = headers.find("x-api-key");
  return key == nullptr ? std::string_view() : std::string_view(*key);
}

}  // namespace

bool is_one_of(std::string_view given, const std::vector<std::string>& keys) {
  bool found = false;
  for (const std::string& key : keys) {
    volatile unsigned char difference = given.size() == key.size() ? 0 : 1;
    for (size_t i = 0; i < given.size(); ++i) {
      const auto wanted = static_cast<unsigned char>(key.empty() ? 0 : key[i % key.size()]);
      difference = static_cast<unsigned char>(difference | (static_cast<unsigned char>(given[i]) ^ wanted));
    }
    found = (difference == 0 && !key.empty()) || found;
  }
  return found;
}

bool KeyRing::admits(const HeaderList& headers, Access access) const {
  if (access == Access::kEverybody) return true;
  const auto keys = snapshot();
  const std::string_view given = key_of(headers);
  if (is_one_of(given, keys->operators)) return true;
  if (access == Access::kOperators && !keys->operators.empty()) return false;
  if (keys->users.empty() && keys->from_file.empty()) return true;
  const bool listed = is_one_of(given, keys->users);
  return is_one_of(given, keys->from_file) || listed;
}

void KeyRing::replace_file_keys(std::vector<std::string> from_file) {
  std::lock_guard lock(mutex_);
  auto keys = std::make_shared<Keys>(*keys_);
  keys->from_file = std::move(from_file);
  keys_ = std::move(keys);
}

size_t KeyRing::user_keys() const {
  const auto keys = snapshot();
  return keys->users.size() + keys->from_file.size();
}

std::shared_ptr<const Keys> KeyRing::snapshot() const {
  std::lock_guard lock(mutex_);
  return keys_;
}

Result<std::vector<std::string>> read_key_file(const std::string& path) {
  const auto wrong = [&](const std::string& what) {
    return Error{ErrorCode::kInvalidArgument, "--api-key-file " + path + ": " + what, "--api-key-file"};
  };
  std::ifstream file(path);
  if (!file) return wrong("the file cannot be read.");
  std::vector<std::string> keys;
  std::string line;
  while (std::getline(file, line)) {
    while (!line.empty() && (line.back() == '\r' || line.back() == ' ' || line.back() == '\t'))
      line.pop_back();
    if (line.empty() || line.front() == '#') continue;
    if (line.size() > kMaxKeyBytes) return wrong("a key has more than 1024 bytes.");
    if (keys.size() == kMaxKeys) return wrong("there are more than 10000 keys.");
    keys.push_back(line);
  }
  if (file.bad()) return wrong("the file cannot be read to its end.");
  if (keys.empty()) return wrong("there is no key in it; write one a line.");
  return keys;
}

}  // namespace sluice
