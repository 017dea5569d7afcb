#include "tests/support/gguf_writer.h"

#include <cstring>

#include "base/check.h"

namespace sluice {
namespace {

constexpr size_t kAlignment = 32;

// Value types of the format.
enum : uint32_t { kU32 = 4, kI32 = 5, kF32 = 6, kBool = 7, kString = 8, kArray = 9 };

template <class T>
void put(std::string& out, T value) {
  out.append(reinterpret_cast<const char*>(&value), sizeof(value));
}

// A number that `fields` will name.
template <class T>
void put(std::string& out, T value, std::vector<GgufWriter::Field>& fields, std::string name) {
  fields.push_back({std::move(name), out.size(), sizeof(T)});
  put(out, value);
}

uint32_t type_number(WeightFormat format) {
  switch (format) {
    case WeightFormat::kF32:
      return 0;
    case WeightFormat::kF16:
      return 1;
    case WeightFormat::kQ4_0:
      return 2;
    case WeightFormat::kQ4_1:
      return 3;
    case WeightFormat::kQ5_0:
      return 6;
    case WeightFormat::kQ5_1:
      return 7;
    case WeightFormat::kQ8_0:
      return 8;
    case WeightFormat::kQ2_K:
      return 10;
    case WeightFormat::kQ3_K:
      return 11;
    case WeightFormat::kQ4_K:
      return 12;
    case WeightFormat::kQ5_K:
      return 13;
    case WeightFormat::kQ6_K:
      return 14;
    case WeightFormat::kI4_32:
    case WeightFormat::kI4_64:
    case WeightFormat::kF8:
      break;  // no GGUF has them
    case WeightFormat::kBF16:
      return 30;
  }
  return 0;
}

}  // namespace

GgufWriter::Key& GgufWriter::key(std::string_view name) {
  auto& key = keys_.emplace_back();
  key.name = name;
  return key;
}

void GgufWriter::add(std::string_view name, uint32_t value) {
  auto& k = key(name);
  put(k.encoded, static_cast<uint32_t>(kU32), k.fields, k.name + " type");
  put(k.encoded, value, k.fields, k.name);
}
void GgufWriter::add(std::string_view name, float value) {
  auto& k = key(name);
  put(k.encoded, static_cast<uint32_t>(kF32), k.fields, k.name + " type");
  put(k.encoded, value, k.fields, k.name);
}
void GgufWriter::add(std::string_view name, bool value) {
  auto& k = key(name);
  put(k.encoded, static_cast<uint32_t>(kBool), k.fields, k.name + " type");
  put(k.encoded, static_cast<uint8_t>(value));
}
void GgufWriter::add(std::string_view name, std::string_view value) {
  auto& k = key(name);
  put(k.encoded, static_cast<uint32_t>(kString), k.fields, k.name + " type");
  put(k.encoded, static_cast<uint64_t>(value.size()), k.fields, k.name + " length");
  k.encoded += value;
}
void GgufWriter::add(std::string_view name, const std::vector<std::string>& values) {
  auto& k = key(name);
  put(k.encoded, static_cast<uint32_t>(kArray), k.fields, k.name + " type");
  put(k.encoded, static_cast<uint32_t>(kString), k.fields, k.name + " element type");
  put(k.encoded, static_cast<uint64_t>(values.size()), k.fields, k.name + " count");
  for (const auto& value : values) {
    if (&value == &values.back()) k.fields.push_back({k.name + " last length", k.encoded.size(), 8});
    put(k.encoded, static_cast<uint64_t>(value.size()));
    k.encoded += value;
  }
}
void GgufWriter::add(std::string_view name, const std::vector<int32_t>& values) {
  auto& k = key(name);
  put(k.encoded, static_cast<uint32_t>(kArray), k.fields, k.name + " type");
  put(k.encoded, static_cast<uint32_t>(kI32), k.fields, k.name + " element type");
  put(k.encoded, static_cast<uint64_t>(values.size()), k.fields, k.name + " count");
  for (const auto value : values) put(k.encoded, value);
}
void GgufWriter::add(std::string_view name, const std::vector<float>& values) {
  auto& k = key(name);
  put(k.encoded, static_cast<uint32_t>(kArray), k.fields, k.name + " type");
  put(k.encoded, static_cast<uint32_t>(kF32), k.fields, k.name + " element type");
  put(k.encoded, static_cast<uint64_t>(values.size()), k.fields, k.name + " count");
  for (const auto value : values) put(k.encoded, value);
}

void GgufWriter::add_tensor(std::string_view name, WeightFormat format, std::vector<uint64_t> dimensions,
                            std::string bytes) {
  add_tensor(name, type_number(format), std::move(dimensions), std::move(bytes));
}
void GgufWriter::add_tensor(std::string_view name, uint32_t type, std::vector<uint64_t> dimensions,
                            std::string bytes) {
  tensors_.push_back({std::string(name), type, std::move(dimensions), std::move(bytes)});
}

std::string GgufWriter::finish() {
  fields_.clear();
  std::string out = "GGUF";
  put(out, version_, fields_, "version");
  put(out, static_cast<uint64_t>(tensors_.size()), fields_, "tensor count");
  put(out, static_cast<uint64_t>(keys_.size()), fields_, "key count");
  for (const auto& key : keys_) {
    put(out, static_cast<uint64_t>(key.name.size()), fields_, key.name + " key length");
    out += key.name;
    for (auto field : key.fields) {
      field.place += out.size();
      fields_.push_back(std::move(field));
    }
    out += key.encoded;
  }
  uint64_t offset = 0;
  for (const auto& tensor : tensors_) {
    put(out, static_cast<uint64_t>(tensor.name.size()), fields_, tensor.name + " name length");
    out += tensor.name;
    put(out, static_cast<uint32_t>(tensor.dimensions.size()), fields_, tensor.name + " dimensions");
    for (const auto extent : tensor.dimensions) put(out, extent, fields_, tensor.name + " extent");
    put(out, tensor.type, fields_, tensor.name + " type");
    put(out, offset, fields_, tensor.name + " offset");
    offset += (tensor.bytes.size() + kAlignment - 1) / kAlignment * kAlignment;
  }
  for (const auto& tensor : tensors_) {
    out.resize((out.size() + kAlignment - 1) / kAlignment * kAlignment, '\0');
    out += tensor.bytes;
  }
  return out;
}

}  // namespace sluice
