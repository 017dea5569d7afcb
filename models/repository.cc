#include "models/repository.h"

#include <algorithm>
#include <atomic>
#include <filesystem>
#include <mutex>
#include <system_error>
#include <thread>

#include "base/log.h"
#include "models/checksum.h"
#include "models/download.h"
#include "models/file_lock.h"
#include "models/hub.h"
#include "models/hub_cache.h"
#include "models/mapped_file.h"
#include "models/model_name.h"
#include "models/safetensors.h"

namespace sluice {
namespace {

namespace fs = std::filesystem;
using OnProgress = std::function<void(const DownloadProgress&)>;

constexpr int64_t kMaxLockWaitMs = 6 * 3600 * 1000;
constexpr const char* kIndex = "model.safetensors.index.json";
constexpr const char* kOneFile = "model.safetensors";

bool contains(const std::vector<std::string>& names, const std::string& name) {
  return std::find(names.begin(), names.end(), name) != names.end();
}

// What every model directory may have beside its weights.
bool is_small_file(const std::string& name) {
  return name == "config.json" || name == "generation_config.json" || name == "special_tokens_map.json" ||
         name == "chat_template.jinja" ||
         (name.starts_with("tokenizer") && name.find('/') == std::string::npos);
}

bool is_gguf(const std::string& name) {
  return name.ends_with(".gguf");
}

bool is_directory_model(const std::vector<std::string>& names) {
  return contains(names, "config.json") && (contains(names, kOneFile) || contains(names, kIndex));
}

// Adds up what several downloading threads report and passes it on, one call at a time.
class Progress {
 public:
  Progress(const OnProgress& on_progress, size_t files)
      : on_progress_(on_progress), done_(files, 0), size_(files, 0) {}
  void report(size_t index, const std::string& file, int64_t done, int64_t size) {
    const std::lock_guard lock(mutex_);
    done_[index] = done;
    size_[index] = std::max(size, done);
    if (!on_progress_) return;
    DownloadProgress total{file, 0, 0};
    for (size_t i = 0; i < done_.size(); ++i) {
      total.done_bytes += done_[i];
      total.total_bytes += size_[i];
    }
    on_progress_(total);
  }

 private:
  const OnProgress& on_progress_;
  std::mutex mutex_;
  std::vector<int64_t> done_, size_;
};

// Runs work(0) … work(count - 1) on up to `threads` threads; the first error stops the others.
Status in_parallel(size_t count, int threads, std::atomic<bool>& stop,
                   const std::function<Status(size_t)>& work) {
  std::atomic<size_t> next{0};
  std::mutex mutex;
  Status first;
  const auto run = [&] {
    for (size_t i = next++; i < count && !stop; i = next++) {
      Status status = work(i);
      if (status.ok()) continue;
      const std::lock_guard lock(mutex);
      if (first.ok()) first = std::move(status);
      stop = true;
    }
  };
  {
    std::vector<std::jthread> workers;
    try {
      for (size_t t = 1; t < std::min(count, static_cast<size_t>(std::max(threads, 1))); ++t)
        workers.emplace_back(run);
    } catch (const std::system_error&) {
      // No more threads to be had: those there are do all the work.
    }
    run();
  }
  return first;
}

// One model of a hub: into the cache, out of the cache.
class HubModel {
 public:
  HubModel(const HubName& name, const RepositoryOptions& options, Fetcher& fetcher,
           const OnProgress& on_progress)
      : name_(name),
        options_(options),
        fetcher_(fetcher),
        on_progress_(on_progress),
        hub_(options, fetcher, name.repository),
        cache_(options.cache_directory, name.repository) {}

  Result<std::string> resolve() {
    const std::string cached = cache_.read_ref(name_.revision);
    if (is_commit(name_.revision)) {  // a commit never changes: no need to ask
      if (auto path = from_cache(cached); path.ok()) return path;
    }
    if (options_.offline) return offline(cached);
    auto path = from_cache(cached);
    // With a copy to fall back to, a start does not wait for a hub that does not answer.
    auto listing = hub_.list(name_.revision, path.ok() ? 1 : options_.attempts);
    if (!listing.ok()) {
      if (!path.ok() || listing.error().code != ErrorCode::kIo) return std::move(listing).error();
      log::warn("the hub cannot be asked for news of {}, so the copy in the cache serves: {}",
                name_.repository, log::safe(listing.error().message));
      return path;
    }
    return download(*listing);
  }

 private:
  Result<std::string> offline(const std::string& commit) const {
    auto path = from_cache(commit);
    if (path.ok()) return path;
    return Error{ErrorCode::kNotFound, "'" + name_.repository + "' at revision '" + name_.revision +
                                           "' is not whole in the cache '" + options_.cache_directory +
                                           "' (" + path.error().message +
                                           "), and HF_HUB_OFFLINE forbids to download it."};
  }

  // The path to serve from the snapshot of `commit`, if all of it is there.
  Result<std::string> from_cache(const std::string& commit) const {
    if (commit.empty()) return Error{ErrorCode::kNotFound, "this revision was never downloaded"};
    if (!name_.file.empty()) {
      if (!cache_.has_file(commit, name_.file)) return missing(name_.file);
      return cache_.snapshot_path(commit) + "/" + name_.file;
    }
    const auto files = cache_.files_of(commit);
    if (!is_directory_model(files)) {
      if (contains(files, "config.json") && std::none_of(files.begin(), files.end(), is_gguf))
        return missing(kOneFile);
      SLUICE_ASSIGN(const std::string gguf, only_gguf(files));
      return cache_.snapshot_path(commit) + "/" + gguf;
    }
    if (!contains(files, kOneFile)) {
      SLUICE_ASSIGN(const auto shards, shards_of(commit));
      for (const auto& shard : shards) {
        if (!contains(files, shard)) return missing(shard);
      }
    }
    return cache_.snapshot_path(commit);
  }
  static Error missing(const std::string& file) {
    return {ErrorCode::kNotFound, "the file '" + file + "' is not there"};
  }

  Result<std::vector<std::string>> shards_of(const std::string& commit) const {
    const std::string path = cache_.snapshot_path(commit) + "/" + kIndex;
    SLUICE_ASSIGN(const std::string text, read_small_file(path, SafetensorsLimits::kMaxIndexBytes));
    SLUICE_ASSIGN(auto index, parse_safetensors_index(text, path));
    return std::move(index.shards);
  }

  // Of a repository without config.json: the one GGUF it has, or a request to choose.
  Result<std::string> only_gguf(const std::vector<std::string>& files) const {
    std::vector<std::string> ggufs;
    for (const auto& file : files) {
      if (is_gguf(file)) ggufs.push_back(file);
    }
    if (ggufs.size() == 1) return ggufs.front();
    if (ggufs.empty()) {
      return Error{ErrorCode::kNotFound,
                   "'" + name_.repository +
                       "' has neither config.json with safetensors nor a .gguf file, so it "
                       "is not a model that can be served."};
    }
    std::string list;
    constexpr size_t kMost = 30;
    for (size_t i = 0; i < std::min(ggufs.size(), kMost); ++i)
      list += (i > 0 ? ", " : "") + log::safe(ggufs[i]);
    if (ggufs.size() > kMost) list += ", …";
    return invalid_argument("model", "'" + name_.repository + "' has " + std::to_string(ggufs.size()) +
                                         " GGUF files; name one, as hf://" + name_.repository +
                                         "/FILE. They are: " + list + ".");
  }

  Result<std::string> download(const HubListing& listing) {
    const std::string& commit = listing.commit;
    if (!name_.file.empty()) {
      SLUICE_TRY(bring({name_.file}, commit));
    } else if (is_directory_model(listing.files)) {
      std::vector<std::string> files;
      std::copy_if(listing.files.begin(), listing.files.end(), std::back_inserter(files), is_small_file);
      files.push_back(contains(listing.files, kOneFile) ? kOneFile : kIndex);
      SLUICE_TRY(bring(files, commit));
      if (!contains(listing.files, kOneFile)) {
        SLUICE_ASSIGN(const auto shards, shards_of(commit));
        SLUICE_TRY(bring(shards, commit));
      }
    } else {
      SLUICE_ASSIGN(const std::string gguf, only_gguf(listing.files));
      SLUICE_TRY(bring({gguf}, commit));
      SLUICE_TRY(cache_.write_ref(name_.revision, commit));
      return cache_.snapshot_path(commit) + "/" + gguf;
    }
    // Last, so that a revision never stands for a snapshot that lacks something.
    SLUICE_TRY(cache_.write_ref(name_.revision, commit));
    return from_cache(commit);
  }

  // Each of `files` into the snapshot of `commit`, several at once.
  Status bring(const std::vector<std::string>& names, const std::string& commit) {
    std::vector<std::string> files;
    for (const auto& name : names) {
      if (!cache_.has_file(commit, name)) files.push_back(name);
    }
    std::vector<HubFileFacts> facts(files.size());
    std::atomic<bool> stop{false};
    SLUICE_TRY(in_parallel(files.size(), options_.parallel_downloads, stop, [&](size_t i) -> Status {
      SLUICE_ASSIGN(facts[i], hub_.facts(commit, files[i]));
      return {};
    }));
    Progress progress(on_progress_, files.size());
    for (size_t i = 0; i < files.size(); ++i) progress.report(i, files[i], 0, facts[i].size);
    return in_parallel(files.size(), options_.parallel_downloads, stop,
                       [&](size_t i) { return bring_one(files[i], commit, facts[i], i, stop, progress); });
  }

  Status bring_one(const std::string& file, const std::string& commit, const HubFileFacts& facts,
                   size_t index, const std::atomic<bool>& stop, Progress& progress) {
    DownloadTarget target;
    target.url = hub_.file_url(commit, file);
    target.headers = hub_.headers();
    target.label = name_.repository + "/" + file;
    target.path = cache_.blob_path(facts.etag);
    target.incomplete_path = cache_.incomplete_path(facts.etag);
    target.size = facts.size;
    target.sha256 = facts.sha256;
    target.git_blob = facts.git_blob;
    SLUICE_ASSIGN(const FileLock lock, FileLock::acquire(cache_.lock_path(facts.etag), kMaxLockWaitMs));
    std::error_code error;
    if (!fs::is_regular_file(target.path, error)) {
      fs::create_directories(fs::path(target.path).parent_path(), error);
      const DownloadPolicy policy{options_.attempts, options_.retry_backoff_ms, &stop};
      SLUICE_TRY(download_file(
          target, fetcher_, policy,
          [&](const FetchResponse& answer) { return hub_.explain(answer, "file '" + file + "'"); },
          [&](int64_t done, int64_t size) { progress.report(index, file, done, size); }));
    }
    return cache_.link(commit, file, facts.etag);
  }

  const HubName& name_;
  const RepositoryOptions& options_;
  Fetcher& fetcher_;
  const OnProgress& on_progress_;
  Hub hub_;
  HubCache cache_;
};

// A plain URL: kept under a name made of the file's own and a hash of the URL; once whole it is not asked for
// again.
Result<std::string> resolve_url(const std::string& url, const RepositoryOptions& options, Fetcher& fetcher,
                                const OnProgress& on_progress) {
  const std::string shown = public_url(url);
  auto checksum = Checksum::sha256();
  checksum.add(shown);
  std::string name = fs::path(shown).filename().string();
  name = name.substr(0, name.size() - std::string_view(".gguf").size());
  std::erase_if(name,
                [](unsigned char c) { return !(std::isalnum(c) != 0 || c == '-' || c == '_' || c == '.'); });
  while (name.starts_with('.')) name.erase(0, 1);
  const std::string file = name.substr(0, 150) + "-" + checksum.hex().substr(0, 16) + ".gguf";

  DownloadTarget target;
  target.url = url;
  target.label = shown;
  target.path = (fs::path(options.download_directory) / file).string();
  target.incomplete_path = target.path + ".incomplete";
  target.named_by_content = false;
  target.magic = "GGUF";
  std::error_code error;
  if (fs::is_regular_file(target.path, error)) return target.path;
  if (options.offline) {
    return Error{ErrorCode::kNotFound,
                 shown + " was not downloaded before, and HF_HUB_OFFLINE forbids to do so."};
  }
  SLUICE_ASSIGN(const FileLock lock, FileLock::acquire(target.path + ".lock", kMaxLockWaitMs));
  if (fs::is_regular_file(target.path, error)) return target.path;  // another process brought it meanwhile
  const auto explain = [&](const FetchResponse& answer) {
    const auto code = answer.status == 404 || answer.status == 410   ? ErrorCode::kNotFound
                      : answer.status == 401 || answer.status == 403 ? ErrorCode::kUnauthorized
                                                                     : ErrorCode::kIo;
    return Error{code, shown + " cannot be downloaded: the server answered with status " +
                           std::to_string(answer.status) + "."};
  };
  Progress progress(on_progress, 1);
  SLUICE_TRY(download_file(target, fetcher, {options.attempts, options.retry_backoff_ms, nullptr}, explain,
                           [&](int64_t done, int64_t size) { progress.report(0, file, done, size); }));
  return target.path;
}

// What would otherwise become part of a request's head.
bool is_header_value(const std::string& text) {
  return std::all_of(text.begin(), text.end(), [](unsigned char c) { return c > 0x20 && c < 0x7f; });
}

}  // namespace

Result<std::string> resolve_model(const std::string& model, const RepositoryOptions& options,
                                  Fetcher& fetcher,
                                  const std::function<void(const DownloadProgress&)>& on_progress) {
  SLUICE_ASSIGN(const ModelName name, parse_model_name(model, options.endpoint));
  if (name.kind == ModelName::Kind::kPath) return name.text;
  if (!is_header_value(options.token)) {
    return invalid_argument("HF_TOKEN",
                            "HF_TOKEN has a blank or a control character in it; set it to the token alone.");
  }
  if (!options.endpoint.starts_with("http://") && !options.endpoint.starts_with("https://")) {
    return invalid_argument("HF_ENDPOINT",
                            "HF_ENDPOINT '" + log::safe(options.endpoint) + "' is not an http or https URL.");
  }
  if (name.kind == ModelName::Kind::kUrl) return resolve_url(model, options, fetcher, on_progress);
  return HubModel(name.hub, options, fetcher, on_progress).resolve();
}

}  // namespace sluice
