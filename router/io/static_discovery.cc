#include "router/io/static_discovery.h"

#include <algorithm>
#include <charconv>
#include <chrono>
#include <fstream>

#include "base/log.h"
#include "router/io/found_set.h"
#include "server/net/file_stamp.h"
#include "server/net/url.h"

namespace sluice::router {
namespace {

constexpr size_t kMaxFileBytes = size_t{1} << 20;
constexpr size_t kMaxName = 256;

std::string_view trim(std::string_view text) {
  while (!text.empty() && (text.front() == ' ' || text.front() == '\t')) text.remove_prefix(1);
  while (!text.empty() && (text.back() == ' ' || text.back() == '\t' || text.back() == '\r')) {
    text.remove_suffix(1);
  }
  return text;
}

class ReplicaList final : public Discovery {
 public:
  explicit ReplicaList(std::vector<FoundReplica> replicas) : replicas_(std::move(replicas)) {}
  Status start(DiscoverySink& sink) override {
    for (const FoundReplica& replica : replicas_) sink.found(replica);
    return {};
  }
  std::string name() const override { return "list"; }

 private:
  const std::vector<FoundReplica> replicas_;
};

class ReplicaFile final : public Discovery {
 public:
  explicit ReplicaFile(std::string path) : path_(std::move(path)) {}

  Status start(DiscoverySink& sink) override {
    sink_ = &sink;
    stamp_ = FileStamp::of(path_);
    auto read = read_file();
    if (!read.ok()) return read.error();
    found_.become(std::move(read).value(), *sink_);
    return {};
  }
  void tick() override {
    const auto now = std::chrono::steady_clock::now();
    if (now < look_at_) return;
    look_at_ = now + std::chrono::seconds(1);
    if (FileStamp::of(path_) != stamp_) refresh();
  }
  void refresh() override {
    stamp_ = FileStamp::of(path_);
    auto read = read_file();
    trouble_ = read.ok() ? "" : read.error().message;
    if (!read.ok()) return log::warn("the replicas stay as they are: {}", trouble_);
    found_.become(std::move(read).value(), *sink_);
  }
  std::string name() const override { return "file " + path_; }
  std::string_view trouble() const override { return trouble_; }

 private:
  Result<FoundReplicas> read_file() const {
    std::ifstream file(path_, std::ios::binary);
    if (!file) return Error{ErrorCode::kIo, "Cannot read the file of --replicas-file, " + path_ + "."};
    FoundReplicas replicas;
    std::string line;
    size_t bytes = 0;
    for (int number = 1; std::getline(file, line); ++number) {
      bytes += line.size() + 1;
      if (bytes > kMaxFileBytes) return Error{ErrorCode::kIo, path_ + " is larger than 1 MiB."};
      const std::string_view text = trim(line);
      if (text.empty() || text.front() == '#') continue;
      auto replica = parse_replica(text);
      if (!replica.ok()) {
        return Error{ErrorCode::kIo,
                     path_ + ", line " + std::to_string(number) + ": " + replica.error().message};
      }
      std::string name = replica->name;
      if (!replicas.try_emplace(name, std::move(replica).value()).second) {
        return Error{ErrorCode::kIo,
                     path_ + ", line " + std::to_string(number) + ": " + name + " stands there twice."};
      }
    }
    return replicas;
  }

  const std::string path_;
  DiscoverySink* sink_ = nullptr;
  FileStamp stamp_;
  FoundSet found_;
  std::string trouble_;
  std::chrono::steady_clock::time_point look_at_;
};

}  // namespace

Result<FoundReplica> parse_replica(std::string_view text) {
  FoundReplica replica;
  const std::string whole = log::safe(text);
  bool first = true;
  while (first || !text.empty()) {
    const size_t comma = std::min(text.find(','), text.size());
    const std::string_view part = trim(text.substr(0, comma));
    text.remove_prefix(std::min(comma + 1, text.size()));
    if (first) {
      first = false;
      const auto url = parse_url(part);
      if (!url.ok()) return invalid_argument("replica", "'" + whole + "': " + url.error().message);
      replica.url = replica.name = std::string(part);
      continue;
    }
    const size_t equals = std::min(part.find('='), part.size());
    const std::string_view name = part.substr(0, equals);
    const std::string_view value = part.substr(std::min(equals + 1, part.size()));
    if (name == "weight") {
      const auto [end, error] = std::from_chars(value.data(), value.data() + value.size(), replica.weight);
      if (error != std::errc() || end != value.data() + value.size() || !(replica.weight > 0) ||
          replica.weight > 1e6) {
        return invalid_argument("replica",
                                "'" + whole + "': weight must be a number above 0, as in weight=2.");
      }
    } else if (name == "max-running") {
      const auto [end, error] =
          std::from_chars(value.data(), value.data() + value.size(), replica.max_running);
      if (error != std::errc() || end != value.data() + value.size() || replica.max_running < 1) {
        return invalid_argument("replica", "'" + whole + "': max-running must be a number above 0.");
      }
    } else if (name == "model" && !value.empty() && value.size() <= kMaxName) {
      replica.models.emplace_back(value);
    } else if (name == "name" && !value.empty() && value.size() <= kMaxName) {
      replica.name = value;
    } else {
      return invalid_argument(
          "replica", "'" + whole + "': '" + log::safe(part) +
                         "' is not one of weight=NUMBER, max-running=NUMBER, model=NAME and name=NAME.");
    }
  }
  return replica;
}

std::unique_ptr<Discovery> make_replica_list(std::vector<FoundReplica> replicas) {
  return std::make_unique<ReplicaList>(std::move(replicas));
}

std::unique_ptr<Discovery> make_replica_file(std::string path) {
  return std::make_unique<ReplicaFile>(std::move(path));
}

}  // namespace sluice::router
