#include "models/hub_cache.h"

#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <filesystem>
#include <fstream>

#include "models/mapped_file.h"
#include "models/model_name.h"

namespace sluice {
namespace {

namespace fs = std::filesystem;

std::string folder_name(const std::string& repository) {
  std::string name = "models--";
  for (const char c : repository) {
    if (c == '/')
      name += "--";
    else
      name.push_back(c);
  }
  return name;
}

Error io_error(const std::string& path, const std::error_code& error) {
  return {ErrorCode::kIo,
          "Cannot write '" + path + "': " + error.message() + ". The cache directory must be writable."};
}

// A name beside `path` that no other process or thread uses.
std::string temporary_beside(const std::string& path) {
  static std::atomic<uint64_t> next{0};
  return path + "." + std::to_string(::getpid()) + "-" + std::to_string(next++) + ".tmp";
}

}  // namespace

HubCache::HubCache(const std::string& cache_directory, const std::string& repository)
    : folder_((fs::path(cache_directory) / folder_name(repository)).string()),
      locks_((fs::path(cache_directory) / ".locks" / folder_name(repository)).string()) {}

std::string HubCache::blob_path(const std::string& etag) const {
  return folder_ + "/blobs/" + etag;
}
std::string HubCache::lock_path(const std::string& etag) const {
  return locks_ + "/" + etag + ".lock";
}
std::string HubCache::snapshot_path(const std::string& commit) const {
  return folder_ + "/snapshots/" + commit;
}

bool HubCache::has_file(const std::string& commit, const std::string& file) const {
  std::error_code error;
  return fs::is_regular_file(fs::path(snapshot_path(commit)) / file, error);  // follows the link
}

std::vector<std::string> HubCache::files_of(const std::string& commit) const {
  std::vector<std::string> files;
  std::error_code error;
  for (fs::directory_iterator at(snapshot_path(commit), error), end; !error && at != end;
       at.increment(error)) {
    if (at->is_regular_file(error)) files.push_back(at->path().filename().string());
  }
  std::sort(files.begin(), files.end());
  return files;
}

std::string HubCache::read_ref(const std::string& revision) const {
  if (is_commit(revision)) return revision;
  auto text = read_small_file(folder_ + "/refs/" + revision, 1000);
  if (!text.ok()) return "";
  while (!text->empty() && (text->back() == '\n' || text->back() == ' ')) text->pop_back();
  return is_commit(*text) ? *text : "";
}

Status HubCache::write_ref(const std::string& revision, const std::string& commit) const {
  if (revision == commit || read_ref(revision) == commit) return {};
  const std::string path = folder_ + "/refs/" + revision;
  const std::string temporary = temporary_beside(path);
  std::error_code error;
  fs::create_directories(fs::path(path).parent_path(), error);
  if (error) return io_error(path, error);
  std::ofstream out(temporary, std::ios::trunc);
  out << commit;
  out.close();
  if (!out.good()) return io_error(temporary, std::make_error_code(std::errc::io_error));
  fs::rename(temporary, path, error);
  if (error) return io_error(path, error);
  return {};
}

Status HubCache::link(const std::string& commit, const std::string& file, const std::string& etag) const {
  const fs::path path = fs::path(snapshot_path(commit)) / file;
  std::string target = "../../blobs/" + etag;
  for (auto depth = std::count(file.begin(), file.end(), '/'); depth > 0; --depth) target = "../" + target;
  std::error_code error;
  fs::create_directories(path.parent_path(), error);
  if (error) return io_error(path.string(), error);
  const std::string temporary = temporary_beside(path.string());
  fs::create_symlink(target, temporary, error);
  if (error) return io_error(temporary, error);
  fs::rename(temporary, path, error);
  if (error) return io_error(path.string(), error);
  return {};
}

bool HubCache::is_safe_etag(std::string_view etag) {
  return !etag.empty() && etag.size() <= 128 && etag.front() != '.' &&
         std::all_of(etag.begin(), etag.end(), [](char c) {
           return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '-' ||
                  c == '_' || c == '.';
         });
}

}  // namespace sluice
