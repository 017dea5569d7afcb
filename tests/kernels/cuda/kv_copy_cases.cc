// Copies of KV blocks: within the cache, out of it and in again; blocks smaller than a piece, of one, of
// more.
#include <fmt/format.h>

#include "kernels/cuda/kv_copy.h"
#include "kernels/paged_kv.h"
#include "tests/kernels/cuda/cases.h"
#include "tests/kernels/cuda/device_world.h"

namespace sluice::cuda::testing {
namespace {

using Bytes = std::vector<std::byte>;

// Planes of random bytes, on the device and as they should become.
class Cache {
 public:
  Cache(int planes, int64_t blocks, int64_t block_bytes) : block_bytes_(block_bytes) {
    std::mt19937 random(static_cast<uint32_t>(block_bytes));
    for (int p = 0; p < planes; ++p) {
      Bytes bytes(static_cast<size_t>(blocks * block_bytes));
      for (std::byte& b : bytes) b = static_cast<std::byte>(random());
      on_device_.push_back(std::make_unique<DeviceArray<std::byte>>(bytes));
      wanted_.push_back(std::move(bytes));
    }
    std::vector<std::byte*> bases;
    for (const auto& plane : on_device_) bases.push_back(plane->get());
    bases_ = std::make_unique<DeviceArray<std::byte*>>(bases);
  }
  KvPlanes planes() const { return {bases_->get(), static_cast<int>(on_device_.size()), block_bytes_}; }
  std::byte* wanted(size_t plane, int32_t block) { return wanted_[plane].data() + block * block_bytes_; }
  size_t count() const { return wanted_.size(); }
  size_t block_bytes() const { return static_cast<size_t>(block_bytes_); }
  bool is_as_wanted() const {
    for (size_t p = 0; p < wanted_.size(); ++p) {
      if (on_device_[p]->take() != wanted_[p]) return false;
    }
    return true;
  }

 private:
  const int64_t block_bytes_;
  std::vector<std::unique_ptr<DeviceArray<std::byte>>> on_device_;
  std::unique_ptr<DeviceArray<std::byte*>> bases_;
  std::vector<Bytes> wanted_;
};

int64_t block_bytes_of(DType dtype, int kv_heads, int head_size) {
  return static_cast<int64_t>(
      KvLayout{.kv_heads = kv_heads, .head_size = head_size, .dtype = dtype, .order = KvOrder::kRows}
          .block_bytes());
}

std::string copy_case(int64_t block_bytes) {
  Cache cache(4, 9, block_bytes);
  const std::vector<BlockPair> pairs = {{7, 0}, {7, 8}, {3, 5}};
  const DeviceArray<BlockPair> on_device(pairs);
  copy_kv_blocks(cache.planes(), on_device.get(), 3, nullptr);
  for (size_t p = 0; p < cache.count(); ++p) {
    for (const BlockPair& pair : pairs)
      std::memcpy(cache.wanted(p, pair.to), cache.wanted(p, pair.from), cache.block_bytes());
  }
  return cache.is_as_wanted() ? "" : "copied blocks differ";
}

// Out to a host, so to say, and back into other blocks.
std::string swap_case(int64_t block_bytes) {
  Cache cache(6, 8, block_bytes);
  const std::vector<int32_t> out = {6, 1, 2}, in = {4, 7, 1};
  const DeviceArray<int32_t> from(out), to(in);
  const DeviceArray<std::byte> staging(static_cast<size_t>(staged_block_bytes(cache.planes())) * out.size());
  gather_kv_blocks(cache.planes(), from.get(), 3, staging.get(), nullptr);
  const Bytes staged = staging.take();
  for (size_t i = 0; i < out.size(); ++i) {
    for (size_t p = 0; p < cache.count(); ++p) {
      if (std::memcmp(&staged[(i * cache.count() + p) * cache.block_bytes()], cache.wanted(p, out[i]),
                      cache.block_bytes()) != 0)
        return fmt::format("gathered block {} differs in plane {}", i, p);
    }
  }
  if (!cache.is_as_wanted()) return "gathering changes the cache";
  scatter_kv_blocks(cache.planes(), to.get(), 3, staging.get(), nullptr);
  for (size_t i = 0; i < in.size(); ++i) {
    for (size_t p = 0; p < cache.count(); ++p)
      std::memcpy(cache.wanted(p, in[i]), &staged[(i * cache.count() + p) * cache.block_bytes()],
                  cache.block_bytes());
  }
  return cache.is_as_wanted() ? "" : "scattered blocks differ";
}

}  // namespace

void add_kv_copy_cases(std::vector<Case>& cases) {
  for (const int64_t bytes : {int64_t{16}, block_bytes_of(DType::kF8, 3, 80), int64_t{16384},
                              block_bytes_of(DType::kBF16, 8, 128)}) {
    cases.push_back({fmt::format("kv_copy_{}", bytes), [=] { return copy_case(bytes); }});
    cases.push_back({fmt::format("kv_swap_{}", bytes), [=] { return swap_case(bytes); }});
  }
}

}  // namespace sluice::cuda::testing
