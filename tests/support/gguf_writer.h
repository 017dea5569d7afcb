// Writes GGUF files, right ones and, through `fields`, wrong ones: for tests of whoever reads them. One
// thread.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "kernels/dtype.h"

namespace sluice {

class GgufWriter {
 public:
  // A number of the file's structure: what a test may overwrite with something hostile.
  struct Field {
    std::string name;
    size_t place = 0;
    size_t size = 0;  // 4 or 8 bytes
  };

  explicit GgufWriter(uint32_t version = 3) : version_(version) {}

  void add(std::string_view key, uint32_t value);
  void add(std::string_view key, float value);
  void add(std::string_view key, bool value);
  void add(std::string_view key, std::string_view value);
  void add(std::string_view key, const char* value) { add(key, std::string_view(value)); }
  void add(std::string_view key, const std::vector<std::string>& values);
  void add(std::string_view key, const std::vector<int32_t>& values);
  void add(std::string_view key, const std::vector<float>& values);
  // `dimensions` as the file has them: the fastest first.
  void add_tensor(std::string_view name, WeightFormat format, std::vector<uint64_t> dimensions,
                  std::string bytes);
  void add_tensor(std::string_view name, uint32_t type_number, std::vector<uint64_t> dimensions,
                  std::string bytes);

  // The whole file; tensors are aligned to 32 bytes.
  std::string finish();
  const std::vector<Field>& fields() const { return fields_; }  // after finish

 private:
  struct Tensor {
    std::string name;
    uint32_t type;
    std::vector<uint64_t> dimensions;
    std::string bytes;
  };
  struct Key {
    std::string name;
    std::string encoded;        // type and value
    std::vector<Field> fields;  // places relative to `encoded`
  };
  Key& key(std::string_view name);

  uint32_t version_;
  std::vector<Key> keys_;
  std::vector<Tensor> tensors_;
  std::vector<Field> fields_;
};

}  // namespace sluice
