// Fills device memory while weights are loaded: threads write pieces into pinned memory, each is copied as it
// is full. Nothing of a file is kept on the host but those pieces, kUploadBytes of them at most. Used by the
// thread that loads.
#pragma once

#include <cstddef>
#include <functional>
#include <vector>

#include "base/result.h"
#include "kernels/cuda/device_memory.h"

namespace sluice::cuda {

inline constexpr size_t kUploadPiece = size_t{4} << 20;  // bytes
inline constexpr int kUploadPieces = 16;                 // pinned
inline constexpr size_t kUploadBytes = kUploadPieces * kUploadPiece;

class WeightUpload {
 public:
  explicit WeightUpload(Stream stream) : stream_(stream) {}
  WeightUpload(const WeightUpload&) = delete;
  WeightUpload& operator=(const WeightUpload&) = delete;
  ~WeightUpload() { release(); }

  // Writes bytes [offset, offset + bytes) of what is sent to `to`. Called by several threads at once.
  using Fill = std::function<Status(size_t offset, size_t bytes, std::byte* to)>;
  // Fills `to` with `bytes` bytes, in pieces that are multiples of `unit`, itself no larger than a piece
  // (else kUnsupported). What is sent may go away afterwards. The error is the first that a `fill` returned;
  // then what is in `to` is unknown.
  Status send(std::byte* to, size_t bytes, size_t unit, const Fill& fill);
  // From memory.
  Status send(std::byte* to, const void* from, size_t bytes);

  // Gives the pinned memory back until the next `send`.
  void release();

 private:
  const Stream stream_;
  Pinned room_;
  std::vector<Event> copied_;  // of each piece of the room
};

}  // namespace sluice::cuda
