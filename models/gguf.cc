#include "models/gguf.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstring>

#include "base/log.h"

namespace sluice {
namespace {

static_assert(std::endian::native == std::endian::little, "GGUF values are read as they lie");

constexpr size_t kMinTensorBytes =
    8 + 4 + 8 + 4 + 8;  // of the table: name length, dimensions, one of them, type, offset
constexpr size_t kMinKeyBytes = 8 + 4 + 1;  // key length, type, a one-byte value

// Reads forward, never beyond the end: false (or nullopt) then, and nothing is consumed.
class Cursor {
 public:
  explicit Cursor(std::span<const std::byte> bytes) : bytes_(bytes) {}
  size_t place() const { return place_; }
  size_t left() const { return bytes_.size() - place_; }

  template <class T>
  bool read(T& value) {
    if (left() < sizeof(T)) return false;
    std::memcpy(&value, bytes_.data() + place_, sizeof(T));
    place_ += sizeof(T);
    return true;
  }
  bool skip(uint64_t count) {
    if (count > left()) return false;
    place_ += static_cast<size_t>(count);
    return true;
  }
  bool read_string(std::string_view& text) {
    uint64_t length;
    if (left() < sizeof(length)) return false;
    std::memcpy(&length, bytes_.data() + place_, sizeof(length));
    if (length > left() - sizeof(length)) return false;
    text = {reinterpret_cast<const char*>(bytes_.data()) + place_ + sizeof(length),
            static_cast<size_t>(length)};
    place_ += sizeof(length) + static_cast<size_t>(length);
    return true;
  }
  std::span<const std::byte> since(size_t start) const { return bytes_.subspan(start, place_ - start); }

 private:
  std::span<const std::byte> bytes_;
  size_t place_ = 0;
};

// 0: not of a fixed size.
constexpr size_t size_of(GgufType type) {
  switch (type) {
    case GgufType::kU8:
    case GgufType::kI8:
    case GgufType::kBool:
      return 1;
    case GgufType::kU16:
    case GgufType::kI16:
      return 2;
    case GgufType::kU32:
    case GgufType::kI32:
    case GgufType::kF32:
      return 4;
    case GgufType::kU64:
    case GgufType::kI64:
    case GgufType::kF64:
      return 8;
    case GgufType::kString:
    case GgufType::kArray:
      return 0;
  }
  return 0;
}

// Numbers and names of ggml_type: https://github.com/ggml-org/ggml/blob/master/include/ggml.h. Empty: no
// longer in use.
constexpr std::array<std::string_view, 40> kTensorTypes = {
    "F32",    "F16",      "Q4_0",     "Q4_1",     "",      "",      "Q5_0",    "Q5_1",   "Q8_0",    "Q8_1",
    "Q2_K",   "Q3_K",     "Q4_K",     "Q5_K",     "Q6_K",  "Q8_K",  "IQ2_XXS", "IQ2_XS", "IQ3_XXS", "IQ1_S",
    "IQ4_NL", "IQ3_S",    "IQ2_S",    "IQ4_XS",   "I8",    "I16",   "I32",     "I64",    "F64",     "IQ1_M",
    "BF16",   "Q4_0_4_4", "Q4_0_4_8", "Q4_0_8_8", "TQ1_0", "TQ2_0", "",        "",       "",        "MXFP4"};

std::optional<WeightFormat> format_of(uint32_t type) {
  if (type >= kTensorTypes.size()) return std::nullopt;
  for (int f = 0; f <= static_cast<int>(WeightFormat::kQ6_K); ++f) {
    const auto format = static_cast<WeightFormat>(f);
    if (facts_of(format).name == kTensorTypes[type]) return format;
  }
  return std::nullopt;
}

std::string type_text(uint32_t type) {
  const bool known = type < kTensorTypes.size() && !kTensorTypes[type].empty();
  return known ? std::string(kTensorTypes[type]) : "number " + std::to_string(type);
}

// One parse: the words for what went wrong, and the steps in the file's own order.
class Parser {
 public:
  Parser(std::span<const std::byte> bytes, const std::string& file)
      : bytes_(bytes), in_(bytes), file_(file) {}

  Status read_header() {
    std::array<char, 4> magic{};
    uint32_t version = 0;
    if (!in_.read(magic) || std::memcmp(magic.data(), "GGUF", 4) != 0) {
      return corrupt("is not a GGUF file: it does not begin with 'GGUF'.");
    }
    if (!in_.read(version)) return ends_in("the header");
    if (version != 0 && (version & 0xffffU) == 0) {
      return unsupported("is a big-endian GGUF; convert it to little-endian.");
    }
    if (version == 1) return unsupported("is GGUF version 1; convert it to version 3.");
    if (version != 2 && version != 3) {
      return unsupported("is GGUF version " + std::to_string(version) + "; versions 2 and 3 are read.");
    }
    if (!in_.read(tensor_count_) || !in_.read(key_count_)) return ends_in("the header");
    if (tensor_count_ > GgufLimits::kMaxTensors || tensor_count_ > in_.left() / kMinTensorBytes) {
      return corrupt("announces " + std::to_string(tensor_count_) + " tensors; " +
                     most(GgufLimits::kMaxTensors));
    }
    if (key_count_ > GgufLimits::kMaxKeys || key_count_ > in_.left() / kMinKeyBytes) {
      return corrupt("announces " + std::to_string(key_count_) + " metadata keys; " +
                     most(GgufLimits::kMaxKeys));
    }
    return {};
  }

  Status read_metadata(std::vector<GgufValue>& values) {
    values.reserve(static_cast<size_t>(key_count_));
    for (uint64_t i = 0; i < key_count_; ++i) {
      GgufValue value;
      if (!in_.read_string(value.key)) return ends_in("its metadata");
      if (value.key.empty() || value.key.size() > GgufLimits::kMaxKeyBytes) {
        return corrupt("has a metadata key of " + std::to_string(value.key.size()) + " bytes.");
      }
      SLUICE_TRY(read_value(value));
      values.push_back(value);
    }
    std::sort(values.begin(), values.end(), [](const auto& a, const auto& b) { return a.key < b.key; });
    const auto twice = std::adjacent_find(values.begin(), values.end(),
                                          [](const auto& a, const auto& b) { return a.key == b.key; });
    if (twice != values.end()) return corrupt("has the metadata key '" + log::safe(twice->key) + "' twice.");
    return {};
  }

  Status read_tensors(uint64_t alignment, std::vector<StoredTensor>& tensors) {
    tensors.reserve(static_cast<size_t>(tensor_count_));
    std::vector<uint64_t> offsets;
    offsets.reserve(static_cast<size_t>(tensor_count_));
    std::vector<uint64_t> sizes = offsets;
    for (uint64_t i = 0; i < tensor_count_; ++i) {
      StoredTensor tensor;
      uint64_t offset = 0;
      uint64_t size = 0;
      SLUICE_TRY(read_tensor(tensor, offset, size));
      if (offset % alignment != 0) {
        return corrupt("tensor '" + log::safe(tensor.name) + "' begins at " + std::to_string(offset) +
                       ", which is not a multiple of the alignment " + std::to_string(alignment) + ".");
      }
      offsets.push_back(offset);
      sizes.push_back(size);
      tensors.push_back(std::move(tensor));
    }
    const uint64_t data_begin = (in_.place() + alignment - 1) / alignment * alignment;
    const uint64_t data_size = bytes_.size() > data_begin ? bytes_.size() - data_begin : 0;
    for (size_t i = 0; i < tensors.size(); ++i) {
      if (offsets[i] > data_size || sizes[i] > data_size - offsets[i]) {
        return corrupt("tensor '" + log::safe(tensors[i].name) + "' needs " + std::to_string(sizes[i]) +
                       " bytes at " + std::to_string(offsets[i]) + " of the data, but there are only " +
                       std::to_string(data_size) + ": the file is cut off or damaged.");
      }
      tensors[i].bytes =
          bytes_.subspan(static_cast<size_t>(data_begin + offsets[i]), static_cast<size_t>(sizes[i]));
    }
    return check_apart(tensors);
  }

  Error corrupt(std::string what) const {
    return {ErrorCode::kCorrupt, "'" + file_ + "' " + std::move(what)};
  }
  Error unsupported(std::string what) const {
    return {ErrorCode::kUnsupported, "'" + file_ + "' " + std::move(what)};
  }

 private:
  Error ends_in(const char* part) const {
    return corrupt("ends within " + std::string(part) + ", at byte " + std::to_string(in_.place()) + " of " +
                   std::to_string(bytes_.size()) + ": the file is cut off or damaged.");
  }
  std::string most(uint64_t limit) const {
    return "a file of " + std::to_string(bytes_.size()) +
           " bytes cannot hold them, or they are beyond the limit of " + std::to_string(limit) + ".";
  }

  Status read_value(GgufValue& value) {
    uint32_t type = 0;
    if (!in_.read(type)) return ends_in("its metadata");
    value.is_array = type == static_cast<uint32_t>(GgufType::kArray);
    value.count = 1;
    if (value.is_array && (!in_.read(type) || !in_.read(value.count))) return ends_in("its metadata");
    if (type > static_cast<uint32_t>(GgufType::kF64)) {
      return corrupt("metadata key '" + log::safe(value.key) + "' has the unknown type " +
                     std::to_string(type) + ".");
    }
    if (type == static_cast<uint32_t>(GgufType::kArray)) {
      return unsupported("metadata key '" + log::safe(value.key) +
                         "' is an array of arrays, which no model uses.");
    }
    value.type = static_cast<GgufType>(type);
    const size_t start = in_.place();
    if (const size_t size = size_of(value.type); size > 0) {
      if (value.count > in_.left() / size) return ends_in("an array of its metadata");
      in_.skip(value.count * size);
    } else {
      if (value.count > in_.left() / sizeof(uint64_t)) return ends_in("an array of its metadata");
      std::string_view text;
      for (uint64_t i = 0; i < value.count; ++i) {
        if (!in_.read_string(text)) return ends_in("a text of its metadata");
      }
    }
    value.bytes = in_.since(start);
    return {};
  }

  Status read_tensor(StoredTensor& tensor, uint64_t& offset, uint64_t& size) {
    std::string_view name;
    uint32_t dimensions = 0;
    uint32_t type = 0;
    if (!in_.read_string(name)) return ends_in("its table of tensors");
    if (name.empty() || name.size() > GgufLimits::kMaxNameBytes) {
      return corrupt("has a tensor whose name is " + std::to_string(name.size()) + " bytes long.");
    }
    tensor.name = name;
    const std::string title = "tensor '" + log::safe(name) + "' ";
    if (!in_.read(dimensions)) return ends_in("its table of tensors");
    if (dimensions < 1 || dimensions > 4) {
      return corrupt(title + "has " + std::to_string(dimensions) + " dimensions; 1 to 4 are possible.");
    }
    uint64_t columns = 0;
    uint64_t rows = 1;
    for (uint32_t d = 0; d < dimensions; ++d) {
      uint64_t extent = 0;
      if (!in_.read(extent)) return ends_in("its table of tensors");
      if (extent == 0 || extent > static_cast<uint64_t>(INT64_MAX)) {
        return corrupt(title + "has a dimension of " + std::to_string(extent) + ".");
      }
      if (d == 0)
        columns = extent;
      else if (__builtin_mul_overflow(rows, extent, &rows) || rows > static_cast<uint64_t>(INT64_MAX)) {
        return corrupt(title + "has dimensions whose product is beyond 64 bits.");
      }
    }
    if (!in_.read(type) || !in_.read(offset)) return ends_in("its table of tensors");
    const auto format = format_of(type);
    if (!format) {
      return unsupported(title + "has type " + type_text(type) +
                         "; known are F32, F16, BF16, Q4_0, Q4_1, Q5_0, Q5_1, Q8_0 and Q2_K to Q6_K.");
    }
    const auto bytes = stored_bytes(*format, rows, columns);
    if (!bytes) {
      return corrupt(title + "of " + std::to_string(rows) + " x " + std::to_string(columns) +
                     " cannot be of type " + std::string(facts_of(*format).name) + ".");
    }
    tensor.format = *format;
    tensor.rows = static_cast<int64_t>(rows);
    tensor.columns = static_cast<int64_t>(columns);
    size = *bytes;
    return {};
  }

  // Tensors that share bytes would let a small file ask for much memory.
  Status check_apart(const std::vector<StoredTensor>& tensors) const {
    std::vector<const StoredTensor*> by_place;
    by_place.reserve(tensors.size());
    for (const auto& tensor : tensors) by_place.push_back(&tensor);
    std::sort(by_place.begin(), by_place.end(),
              [](const auto* a, const auto* b) { return a->bytes.data() < b->bytes.data(); });
    for (size_t i = 1; i < by_place.size(); ++i) {
      if (by_place[i - 1]->bytes.data() + by_place[i - 1]->bytes.size() > by_place[i]->bytes.data()) {
        return corrupt("tensors '" + log::safe(by_place[i - 1]->name) + "' and '" +
                       log::safe(by_place[i]->name) + "' share bytes.");
      }
    }
    return {};
  }

  std::span<const std::byte> bytes_;
  Cursor in_;
  const std::string& file_;
  uint64_t tensor_count_ = 0;
  uint64_t key_count_ = 0;
};

template <class T>
T load(const std::byte* from) {
  T value;
  std::memcpy(&value, from, sizeof(T));
  return value;
}

// The i-th element; nullopt when it is no integer or beyond int64.
std::optional<int64_t> integer_at(const GgufValue& value, size_t i) {
  const std::byte* at = value.bytes.data() + i * size_of(value.type);
  switch (value.type) {
    case GgufType::kU8:
      return load<uint8_t>(at);
    case GgufType::kI8:
      return load<int8_t>(at);
    case GgufType::kU16:
      return load<uint16_t>(at);
    case GgufType::kI16:
      return load<int16_t>(at);
    case GgufType::kU32:
      return load<uint32_t>(at);
    case GgufType::kI32:
      return load<int32_t>(at);
    case GgufType::kI64:
      return load<int64_t>(at);
    case GgufType::kU64: {
      const auto wide = load<uint64_t>(at);
      if (wide > static_cast<uint64_t>(INT64_MAX)) return std::nullopt;
      return static_cast<int64_t>(wide);
    }
    default:
      return std::nullopt;
  }
}

}  // namespace

Result<GgufFile> GgufFile::parse(std::span<const std::byte> bytes, std::string file) {
  GgufFile result;
  result.file_ = std::move(file);
  Parser parser(bytes, result.file_);
  SLUICE_TRY(parser.read_header());
  SLUICE_TRY(parser.read_metadata(result.values_));
  SLUICE_ASSIGN(const auto alignment, result.integer("general.alignment"));
  const int64_t align = alignment.value_or(32);
  if (align < 8 || align > GgufLimits::kMaxAlignment || !std::has_single_bit(static_cast<uint64_t>(align))) {
    return parser.corrupt("has general.alignment " + std::to_string(align) +
                          "; it must be a power of two from 8 to " +
                          std::to_string(GgufLimits::kMaxAlignment) + ".");
  }
  SLUICE_TRY(parser.read_tensors(static_cast<uint64_t>(align), result.tensors_));
  if (const auto twice = sort_by_name(result.tensors_)) {
    return parser.corrupt("has the tensor '" + log::safe(*twice) + "' twice.");
  }
  return result;
}

const GgufValue* GgufFile::find(std::string_view key) const {
  const auto at = std::lower_bound(values_.begin(), values_.end(), key,
                                   [](const GgufValue& value, std::string_view k) { return value.key < k; });
  return at != values_.end() && at->key == key ? &*at : nullptr;
}

Error GgufFile::wrong_kind(std::string_view key, const char* wanted) const {
  return {ErrorCode::kCorrupt,
          "'" + file_ + "': metadata key '" + std::string(key) + "' is not " + wanted + "."};
}

Result<std::optional<int64_t>> GgufFile::integer(std::string_view key) const {
  const auto* value = find(key);
  if (value == nullptr) return std::optional<int64_t>();
  const auto number = value->is_array ? std::nullopt : integer_at(*value, 0);
  if (!number) return wrong_kind(key, "an integer");
  return number;
}

Result<std::optional<double>> GgufFile::number(std::string_view key) const {
  const auto* value = find(key);
  if (value == nullptr) return std::optional<double>();
  if (value->is_array) return wrong_kind(key, "a number");
  double number = 0;
  if (value->type == GgufType::kF32) {
    number = static_cast<double>(load<float>(value->bytes.data()));
  } else if (value->type == GgufType::kF64) {
    number = load<double>(value->bytes.data());
  } else if (const auto whole = integer_at(*value, 0)) {
    number = static_cast<double>(*whole);
  } else {
    return wrong_kind(key, "a number");
  }
  if (!std::isfinite(number)) return wrong_kind(key, "a finite number");
  return std::optional<double>(number);
}

Result<std::optional<bool>> GgufFile::boolean(std::string_view key) const {
  const auto* value = find(key);
  if (value == nullptr) return std::optional<bool>();
  if (value->is_array || value->type != GgufType::kBool) return wrong_kind(key, "true or false");
  return std::optional<bool>(load<uint8_t>(value->bytes.data()) != 0);
}

Result<std::optional<std::string_view>> GgufFile::text(std::string_view key) const {
  const auto* value = find(key);
  if (value == nullptr) return std::optional<std::string_view>();
  if (value->is_array || value->type != GgufType::kString) return wrong_kind(key, "a text");
  Cursor in(value->bytes);
  std::string_view text;
  SLUICE_CHECK(in.read_string(text));
  return std::optional<std::string_view>(text);
}

Result<std::vector<std::string>> GgufFile::texts(std::string_view key) const {
  std::vector<std::string> texts;
  const auto* value = find(key);
  if (value == nullptr) return texts;
  if (!value->is_array || value->type != GgufType::kString) return wrong_kind(key, "an array of texts");
  texts.reserve(static_cast<size_t>(value->count));
  Cursor in(value->bytes);
  std::string_view text;
  while (in.read_string(text)) texts.emplace_back(text);
  return texts;
}

Result<std::vector<float>> GgufFile::floats(std::string_view key) const {
  std::vector<float> numbers;
  const auto* value = find(key);
  if (value == nullptr) return numbers;
  if (!value->is_array || value->type != GgufType::kF32) return wrong_kind(key, "an array of f32");
  numbers.resize(static_cast<size_t>(value->count));
  if (!numbers.empty()) std::memcpy(numbers.data(), value->bytes.data(), value->bytes.size());
  return numbers;
}

Result<std::vector<int32_t>> GgufFile::integers(std::string_view key) const {
  std::vector<int32_t> numbers;
  const auto* value = find(key);
  if (value == nullptr) return numbers;
  if (!value->is_array) return wrong_kind(key, "an array of integers");
  numbers.reserve(static_cast<size_t>(value->count));
  for (size_t i = 0; i < value->count; ++i) {
    const auto number = integer_at(*value, i);
    if (!number || *number < INT32_MIN || *number > INT32_MAX)
      return wrong_kind(key, "an array of 32-bit integers");
    numbers.push_back(static_cast<int32_t>(*number));
  }
  return numbers;
}

}  // namespace sluice
