#include "models/checksum.h"

#include <openssl/evp.h>

#include <array>

#include "base/check.h"

namespace sluice {

struct Checksum::State {
  explicit State(const EVP_MD* kind) : digest(EVP_MD_CTX_new()) {
    SLUICE_CHECK(digest != nullptr && EVP_DigestInit_ex(digest, kind, nullptr) == 1);
  }
  State(const State&) = delete;
  State& operator=(const State&) = delete;
  ~State() { EVP_MD_CTX_free(digest); }
  EVP_MD_CTX* digest;
};

Checksum::Checksum(std::unique_ptr<State> state) : state_(std::move(state)) {}
Checksum::Checksum(Checksum&&) noexcept = default;
Checksum& Checksum::operator=(Checksum&&) noexcept = default;
Checksum::~Checksum() = default;

Checksum Checksum::sha256() {
  return Checksum(std::make_unique<State>(EVP_sha256()));
}

Checksum Checksum::git_blob(uint64_t size_bytes) {
  Checksum checksum(std::make_unique<State>(EVP_sha1()));
  const std::string head = "blob " + std::to_string(size_bytes);
  checksum.add({head.c_str(), head.size() + 1});  // with the closing zero
  return checksum;
}

void Checksum::add(std::string_view bytes) {
  SLUICE_CHECK(EVP_DigestUpdate(state_->digest, bytes.data(), bytes.size()) == 1);
}

std::string Checksum::hex() {
  static constexpr char kHex[] = "0123456789abcdef";
  std::array<unsigned char, EVP_MAX_MD_SIZE> bytes{};
  unsigned int size = 0;
  SLUICE_CHECK(EVP_DigestFinal_ex(state_->digest, bytes.data(), &size) == 1);
  std::string text;
  for (unsigned int i = 0; i < size; ++i) text += {kHex[bytes[i] >> 4], kHex[bytes[i] & 15]};
  return text;
}

}  // namespace sluice
