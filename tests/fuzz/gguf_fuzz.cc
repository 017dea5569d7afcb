// A GGUF of any bytes: an answer or an Error, and every tensor that was accepted lies within the bytes.
#include <cstdint>
#include <span>

#include "models/gguf_model.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::span<const std::byte> bytes(reinterpret_cast<const std::byte*>(data), size);
  const auto file = sluice::GgufFile::parse(bytes, "fuzz.gguf");
  if (file.ok()) {
    uint64_t sum = 0;
    for (const auto& tensor : file->tensors()) {
      for (const std::byte byte : tensor.bytes) sum += static_cast<uint64_t>(byte);
    }
    volatile uint64_t keep = sum;
    static_cast<void>(keep);
  }
  const auto files = sluice::read_gguf(bytes, "fuzz.gguf");
  if (!files.ok()) return 0;
  const auto& config = files->config;
  static_cast<void>(files->tensors->vector("model.norm.weight", config.width));
  static_cast<void>(
      files->tensors->matrix("model.layers.0.mlp.up_proj.weight", config.mlp_width, config.width));
  return 0;
}
