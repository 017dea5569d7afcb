#include "models/safetensors.h"

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <functional>
#include <nlohmann/json.hpp>
#include <optional>
#include <utility>

#include "base/log.h"
#include "models/json_fields.h"
#include "models/mapped_file.h"

namespace sluice {
namespace {

using nlohmann::json;

constexpr int kMaxHeaderDepth = 4;  // header, tensor, its list of numbers; one to spare

Error corrupt(const std::string& file, const std::string& what) {
  return {ErrorCode::kCorrupt, "'" + file + "' " + what};
}

std::optional<WeightFormat> format_of(std::string_view type) {
  if (type == "F32") return WeightFormat::kF32;
  if (type == "F16") return WeightFormat::kF16;
  if (type == "BF16") return WeightFormat::kBF16;
  return std::nullopt;
}

struct Entry {
  std::string_view type;
  uint64_t rows = 1, columns = 1;
  uint64_t begin = 0, end = 0;
};

// Nullopt: not of the form {"dtype": text, "shape": [numbers], "data_offsets": [begin, end]}, or a shape
// beyond 64 bits.
std::optional<Entry> read_entry(const json& value) {
  if (!value.is_object()) return std::nullopt;
  const auto type = value.find("dtype");
  const auto shape = value.find("shape");
  const auto offsets = value.find("data_offsets");
  if (type == value.end() || shape == value.end() || offsets == value.end()) return std::nullopt;
  if (!type->is_string() || !shape->is_array() || !offsets->is_array() || offsets->size() != 2)
    return std::nullopt;
  if (!(*offsets)[0].is_number_unsigned() || !(*offsets)[1].is_number_unsigned()) return std::nullopt;
  Entry entry;
  entry.type = type->get_ref<const std::string&>();
  entry.begin = (*offsets)[0].get<uint64_t>();
  entry.end = (*offsets)[1].get<uint64_t>();
  for (size_t d = 0; d < shape->size(); ++d) {
    if (!(*shape)[d].is_number_unsigned()) return std::nullopt;
    const auto extent = (*shape)[d].get<uint64_t>();
    if (extent > static_cast<uint64_t>(INT64_MAX)) return std::nullopt;
    if (d + 1 == shape->size())
      entry.columns = extent;
    else if (__builtin_mul_overflow(entry.rows, extent, &entry.rows))
      return std::nullopt;
  }
  if (entry.rows > static_cast<uint64_t>(INT64_MAX)) return std::nullopt;
  return entry;
}

struct Range {
  uint64_t begin, end;
  std::string_view name;
};

Status check_apart(std::vector<Range>& ranges, const std::string& file) {
  std::sort(ranges.begin(), ranges.end(), [](const Range& a, const Range& b) { return a.begin < b.begin; });
  for (size_t i = 1; i < ranges.size(); ++i) {
    if (ranges[i - 1].end > ranges[i].begin) {
      return corrupt(file, "has tensors '" + log::safe(ranges[i - 1].name) + "' and '" +
                               log::safe(ranges[i].name) + "' that share bytes.");
    }
  }
  return {};
}

class SafetensorsSource : public SafetensorsTensors {
 public:
  explicit SafetensorsSource(std::string directory) : directory_(std::move(directory)) {}

  Status add(const std::string& name) {
    SLUICE_ASSIGN(auto mapping, MappedFile::open((std::filesystem::path(directory_) / name).string()));
    SLUICE_ASSIGN(auto file, parse_safetensors(mapping.bytes(), mapping.path()));
    for (auto& tensor : file.tensors) {
      total_bytes_ += tensor.bytes.size();
      align(tensor);
      tensors_.push_back(std::move(tensor));
    }
    for (auto& tensor : file.packed) {
      total_bytes_ += is_of_weights(tensor.type) ? tensor.bytes.size() : 0;
      packed_.push_back(std::move(tensor));
    }
    mappings_.push_back(std::move(mapping));
    return {};
  }
  Status finish() {
    std::ranges::sort(packed_, {}, &PackedTensor::name);
    if (const auto twice = sort_by_name(tensors_)) {
      return corrupt(directory_, "has the tensor '" + log::safe(*twice) + "' in two files.");
    }
    return {};
  }
  bool knows(std::string_view name) const {
    return find_tensor(tensors_, name) != nullptr || find_packed(name) != nullptr;
  }

  bool has(std::string_view name) const override { return find_tensor(tensors_, name) != nullptr; }
  Result<HostWeight> matrix(std::string_view name, int64_t rows, int64_t columns) const override {
    SLUICE_ASSIGN(const auto* tensor, stored(name));
    SLUICE_ASSIGN(HostWeight weight, as_matrix(*tensor, rows, columns, directory_));
    weight.file = file_of(tensor->bytes);
    return weight;
  }
  Result<std::vector<float>> vector(std::string_view name, int64_t length) const override {
    SLUICE_ASSIGN(const auto* tensor, stored(name));
    return as_vector(*tensor, length, directory_);
  }
  size_t total_bytes() const override { return total_bytes_; }

  Result<const StoredTensor*> stored(std::string_view name) const override {
    if (const auto* tensor = find_tensor(tensors_, name)) {
      SLUICE_TRY(check_unchanged(tensor->bytes));
      return tensor;
    }
    if (const auto* tensor = find_packed(name)) {
      return Error{ErrorCode::kUnsupported, "'" + directory_ + "': tensor '" + log::safe(name) +
                                                "' has type " + log::safe(tensor->type) +
                                                "; known are F32, F16 and BF16, and where config.json says "
                                                "how weights are quantised, I32 and F8_E4M3."};
    }
    return corrupt(directory_, "has no tensor '" + log::safe(name) + "', which the model needs.");
  }
  const PackedTensor* find_packed(std::string_view name) const override {
    const auto at = std::ranges::lower_bound(packed_, name, {}, &PackedTensor::name);
    return at != packed_.end() && at->name == name ? &*at : nullptr;
  }
  Result<const PackedTensor*> packed(std::string_view name, std::string_view type, int64_t rows,
                                     int64_t columns) const override {
    const PackedTensor* const tensor = find_packed(name);
    if (tensor == nullptr)
      return corrupt(directory_, "has no tensor '" + log::safe(name) + "' of type " + std::string(type) +
                                     ", which the model needs.");
    const uint64_t wanted =
        static_cast<uint64_t>(rows) * static_cast<uint64_t>(columns) * (type == "I32" ? 4 : 1);
    if (tensor->type != type || tensor->rows != rows || tensor->columns != columns ||
        tensor->bytes.size() != wanted) {
      return corrupt(directory_, "has '" + log::safe(name) + "' as " + std::to_string(tensor->rows) + " x " +
                                     std::to_string(tensor->columns) + " of type " + log::safe(tensor->type) +
                                     " in " + std::to_string(tensor->bytes.size()) +
                                     " bytes, but the model's configuration makes it " +
                                     std::to_string(rows) + " x " + std::to_string(columns) + " of type " +
                                     std::string(type) + ".");
    }
    SLUICE_TRY(check_unchanged(tensor->bytes));
    return tensor;
  }

  FileBytes file_of(std::span<const std::byte> piece) const override {
    for (const auto& mapping : mappings_) {
      if (lies_in(piece, mapping))
        return {mapping.descriptor(), piece.data() - mapping.bytes().data(), mapping.path()};
    }
    return {};
  }

 private:
  static bool is_of_weights(std::string_view type) { return type == "I32" || type == "F8_E4M3"; }
  // Early writers did not pad the header, so weights may lie at odd addresses: those move to memory of their
  // own.
  void align(StoredTensor& tensor) {
    const auto element = static_cast<uintptr_t>(facts_of(tensor.format).block_bytes);
    if (reinterpret_cast<uintptr_t>(tensor.bytes.data()) % element == 0) return;
    auto& copy = realigned_.emplace_back(tensor.bytes.begin(), tensor.bytes.end());
    tensor.bytes = copy;
  }
  static bool lies_in(std::span<const std::byte> piece, const MappedFile& mapping) {
    const auto bytes = mapping.bytes();
    const std::less_equal<const std::byte*> not_after;
    return not_after(bytes.data(), piece.data()) && not_after(piece.data(), bytes.data() + bytes.size());
  }
  Status check_unchanged(std::span<const std::byte> piece) const {
    for (const auto& mapping : mappings_) {
      if (lies_in(piece, mapping)) SLUICE_TRY(mapping.check_unchanged());
    }
    return {};
  }

  std::string directory_;
  std::vector<MappedFile> mappings_;
  std::vector<std::vector<std::byte>> realigned_;
  std::vector<StoredTensor> tensors_;
  std::vector<PackedTensor> packed_;  // sorted by name
  size_t total_bytes_ = 0;
};

bool is_shard_name(std::string_view name) {
  return name.size() > 12 && name.size() <= 255 && name.ends_with(".safetensors") && name[0] != '.' &&
         name.find_first_of(std::string_view("/\\\0", 3)) == std::string_view::npos;
}

}  // namespace

Result<SafetensorsFile> parse_safetensors(std::span<const std::byte> bytes, const std::string& file) {
  uint64_t header_bytes = 0;
  if (bytes.size() < sizeof(header_bytes)) return corrupt(file, "is too short to be a safetensors file.");
  std::memcpy(&header_bytes, bytes.data(), sizeof(header_bytes));
  if (header_bytes > bytes.size() - sizeof(header_bytes) ||
      header_bytes > SafetensorsLimits::kMaxHeaderBytes) {
    return corrupt(file, "announces a header of " + std::to_string(header_bytes) + " bytes in a file of " +
                             std::to_string(bytes.size()) +
                             ": it is cut off, damaged or not a safetensors file.");
  }
  const std::string_view header(reinterpret_cast<const char*>(bytes.data()) + sizeof(header_bytes),
                                header_bytes);
  SLUICE_ASSIGN(const json entries,
                parse_json_object(header, file, {kMaxHeaderDepth, /*refuse_duplicates=*/true}));

  const auto data = bytes.subspan(sizeof(header_bytes) + header_bytes);
  SafetensorsFile result;
  std::vector<Range> ranges;
  for (const auto& [name, value] : entries.items()) {
    if (name == "__metadata__") continue;
    const auto entry = read_entry(value);
    if (!entry) return corrupt(file, "describes tensor '" + log::safe(name) + "' in a form that cannot be.");
    if (entry->begin > entry->end || entry->end > data.size()) {
      return corrupt(file, "puts tensor '" + log::safe(name) + "' at " + std::to_string(entry->begin) +
                               " to " + std::to_string(entry->end) + " of " + std::to_string(data.size()) +
                               " bytes of data: it is cut off or damaged.");
    }
    const auto format = format_of(entry->type);
    if (!format || entry->rows == 0 || entry->columns == 0) {
      result.packed.push_back({name, format ? "empty " + std::string(entry->type) : std::string(entry->type),
                               static_cast<int64_t>(entry->rows), static_cast<int64_t>(entry->columns),
                               data.subspan(entry->begin, entry->end - entry->begin)});
      continue;
    }
    const auto size = stored_bytes(*format, entry->rows, entry->columns);
    if (!size || *size != entry->end - entry->begin) {
      return corrupt(file, "gives tensor '" + log::safe(name) + "' " +
                               std::to_string(entry->end - entry->begin) +
                               " bytes, which does not fit its shape and type.");
    }
    ranges.push_back({entry->begin, entry->end, name});  // `name` lies in `entries`
    result.tensors.push_back({name, *format, static_cast<int64_t>(entry->rows),
                              static_cast<int64_t>(entry->columns),
                              data.subspan(entry->begin, static_cast<size_t>(*size))});
  }
  SLUICE_TRY(check_apart(ranges, file));
  sort_by_name(result.tensors);
  return result;
}

Result<SafetensorsIndex> parse_safetensors_index(std::string_view text, const std::string& file) {
  SLUICE_ASSIGN(const json index, parse_json_object(text, file));
  const auto map = index.find("weight_map");
  if (map == index.end() || !map->is_object()) return corrupt(file, "has no 'weight_map' object.");
  SafetensorsIndex result;
  for (const auto& [name, shard] : map->items()) {
    if (!shard.is_string() || !is_shard_name(shard.get_ref<const std::string&>())) {
      return corrupt(file, "puts tensor '" + log::safe(name) + "' into " +
                               log::safe(shard.dump(-1, ' ', true, json::error_handler_t::replace)) +
                               ", which is not the name of a .safetensors file beside it.");
    }
    result.shard_of.emplace_back(name, shard.get_ref<const std::string&>());
    result.shards.push_back(result.shard_of.back().second);
  }
  std::sort(result.shards.begin(), result.shards.end());
  result.shards.erase(std::unique(result.shards.begin(), result.shards.end()), result.shards.end());
  if (result.shards.empty() || result.shards.size() > SafetensorsLimits::kMaxShards) {
    return corrupt(file, "lists " + std::to_string(result.shards.size()) + " files; it must be 1 to " +
                             std::to_string(SafetensorsLimits::kMaxShards) + ".");
  }
  return result;
}

Result<std::unique_ptr<SafetensorsTensors>> open_safetensors(const std::string& directory) {
  namespace fs = std::filesystem;
  std::error_code error;
  auto source = std::make_unique<SafetensorsSource>(directory);
  if (fs::exists(fs::path(directory) / "model.safetensors", error)) {
    SLUICE_TRY(source->add("model.safetensors"));
    SLUICE_TRY(source->finish());
    return std::unique_ptr<SafetensorsTensors>(std::move(source));
  }
  const std::string index_path = (fs::path(directory) / "model.safetensors.index.json").string();
  if (!fs::exists(index_path, error)) {
    return Error{ErrorCode::kNotFound,
                 "'" + directory +
                     "' has neither model.safetensors nor model.safetensors.index.json; "
                     "weights are read from safetensors only."};
  }
  SLUICE_ASSIGN(const std::string text, read_small_file(index_path, SafetensorsLimits::kMaxIndexBytes));
  SLUICE_ASSIGN(const auto index, parse_safetensors_index(text, index_path));
  for (const auto& shard : index.shards) SLUICE_TRY(source->add(shard));
  SLUICE_TRY(source->finish());
  for (const auto& [name, shard] : index.shard_of) {
    if (!source->knows(name)) {
      return corrupt(index_path,
                     "lists tensor '" + log::safe(name) + "' in '" + shard + "', but it is not there.");
    }
  }
  return std::unique_ptr<SafetensorsTensors>(std::move(source));
}

}  // namespace sluice
