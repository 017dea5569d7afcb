// Safetensors of any bytes: an answer or an Error, and every tensor that was accepted lies within the bytes.
// The same bytes are tried as an index.
#include <cstdint>
#include <span>
#include <string_view>

#include "base/check.h"
#include "models/safetensors.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const auto* begin = reinterpret_cast<const std::byte*>(data);
  const auto file = sluice::parse_safetensors({begin, size}, "fuzz.safetensors");
  if (file.ok()) {
    uint64_t sum = 0;
    for (const auto& tensor : file->tensors) {
      for (const std::byte byte : tensor.bytes) sum += static_cast<uint64_t>(byte);
      static_cast<void>(sluice::as_vector(tensor, tensor.columns, "fuzz.safetensors"));
    }
    volatile uint64_t keep = sum;
    static_cast<void>(keep);
  }
  const auto index =
      sluice::parse_safetensors_index({reinterpret_cast<const char*>(data), size}, "fuzz.json");
  if (index.ok()) {
    for (const auto& shard : index->shards)
      SLUICE_CHECK(shard.find('/') == std::string::npos && shard[0] != '.');
  }
  return 0;
}
