// The hashes by which a hub names its files: SHA-256 of the bytes (large files) and git's name of a blob
// (small ones: SHA-1 over "blob <size>\0" and the bytes). Fed piece by piece; one thread.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

namespace sluice {

class Checksum {
 public:
  static Checksum sha256();
  static Checksum git_blob(uint64_t size_bytes);

  Checksum(Checksum&&) noexcept;
  Checksum& operator=(Checksum&&) noexcept;
  ~Checksum();

  void add(std::string_view bytes);
  // Lower-case hexadecimal. Ends the computation: nothing may be added afterwards.
  std::string hex();

 private:
  struct State;
  explicit Checksum(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace sluice
