#include "kernels/cuda/weight_upload.h"

#include <algorithm>
#include <condition_variable>
#include <cstring>
#include <mutex>
#include <optional>
#include <thread>

namespace sluice::cuda {
namespace {

constexpr unsigned kReaders = 8;
constexpr int64_t kCopies = kUploadPieces / 2;  // on their way to the device; the others are being filled

// Piece p is filled in place p % kUploadPieces of the room, once piece p - kUploadPieces has been copied; it
// is copied after piece p - 1.
class Ring {
 public:
  explicit Ring(int64_t pieces) : pieces_(pieces) {}

  // The next piece to fill, when its place is free; nullopt: there is none, or something went wrong.
  std::optional<int64_t> take() {
    std::unique_lock lock(mutex_);
    if (next_ == pieces_) return std::nullopt;
    const int64_t piece = next_++;
    changed_.wait(lock, [&] { return error_ || piece < free_ + kUploadPieces; });
    if (error_) return std::nullopt;
    return piece;
  }
  void filled(int64_t piece, Status status) {
    const std::lock_guard lock(mutex_);
    if (!status.ok() && !error_) error_ = status.error();
    full_[piece % kUploadPieces] = piece;
    changed_.notify_all();
  }
  // False: something went wrong.
  bool wait_until_full(int64_t piece) {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return error_ || full_[piece % kUploadPieces] == piece; });
    return !error_;
  }
  // The places of all pieces before `piece` may be filled anew.
  void set_free(int64_t piece) {
    const std::lock_guard lock(mutex_);
    free_ = piece;
    changed_.notify_all();
  }
  Status result() {
    const std::lock_guard lock(mutex_);
    if (error_) return *error_;
    return {};
  }

 private:
  const int64_t pieces_;
  std::mutex mutex_;
  std::condition_variable changed_;
  int64_t next_ = 0, free_ = 0;
  std::vector<int64_t> full_ = std::vector<int64_t>(kUploadPieces, -1);
  std::optional<Error> error_;
};

}  // namespace

Status WeightUpload::send(std::byte* to, size_t bytes, size_t unit, const Fill& fill) {
  if (unit == 0 || unit > kUploadPiece) {
    return Error{ErrorCode::kUnsupported,
                 "A weight's rows have " + std::to_string(unit) + " bytes; up to " +
                     std::to_string(kUploadPiece) + " are sent to a GPU.",
                 ""};
  }
  if (room_.bytes() == 0) {
    SLUICE_ASSIGN(room_, Pinned::allocate(kUploadBytes));
    while (copied_.size() < kUploadPieces) copied_.push_back(make_event());
  }
  const size_t piece_bytes = kUploadPiece / unit * unit;
  const auto pieces = static_cast<int64_t>((bytes + piece_bytes - 1) / piece_bytes);
  const auto place = [&](int64_t piece) { return room_.get() + piece % kUploadPieces * kUploadPiece; };
  const auto size = [&](int64_t piece) {
    return std::min(piece_bytes, bytes - static_cast<size_t>(piece) * piece_bytes);
  };
  Ring ring(pieces);
  const auto read = [&] {
    while (const auto piece = ring.take())
      ring.filled(*piece, fill(static_cast<size_t>(*piece) * piece_bytes, size(*piece), place(*piece)));
  };
  std::vector<std::jthread> readers;  // ends before `ring`
  const auto threads =
      std::min<int64_t>(std::min(kReaders, std::max(1U, std::thread::hardware_concurrency())), pieces);
  if (pieces == 1) {
    read();
  } else {
    for (int64_t i = 0; i < threads; ++i) readers.emplace_back(read);
  }
  for (int64_t piece = 0; piece < pieces && ring.wait_until_full(piece); ++piece) {
    copy_to_device(to + static_cast<size_t>(piece) * piece_bytes, place(piece), size(piece), stream_);
    record(copied_[static_cast<size_t>(piece % kUploadPieces)], stream_);
    if (piece < kCopies) continue;
    wait_for(copied_[static_cast<size_t>((piece - kCopies) % kUploadPieces)]);
    ring.set_free(piece - kCopies + 1);
  }
  readers.clear();
  synchronize(stream_);
  return ring.result();
}

Status WeightUpload::send(std::byte* to, const void* from, size_t bytes) {
  return send(to, bytes, 1, [from](size_t offset, size_t count, std::byte* piece) {
    std::memcpy(piece, static_cast<const std::byte*>(from) + offset, count);
    return Status{};
  });
}

void WeightUpload::release() {
  room_ = {};
  for (const Event event : copied_) destroy_event(event);
  copied_.clear();
}

}  // namespace sluice::cuda
