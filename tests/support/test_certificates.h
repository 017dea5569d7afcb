// Certificates made on the spot: an authority and whom it signs, as PEM text. Keys are of the curve P-256.
// Any thread.
#pragma once

#include <memory>
#include <string>

namespace sluice::testing {

struct PemPair {
  std::string certificate, key;
};

class TestAuthority {
 public:
  explicit TestAuthority(const std::string& name = "test authority");
  ~TestAuthority();
  // For localhost and 127.0.0.1, as a server or a client. `days_left` below 0: expired.
  PemPair sign(const std::string& name, int days_left = 30);
  const PemPair& own() const { return own_; }

 private:
  struct Parts;
  std::unique_ptr<Parts> parts_;
  PemPair own_;
};

// `key` behind a password.
std::string encrypted(const std::string& key);

}  // namespace sluice::testing
