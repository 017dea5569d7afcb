#include "router/io/access_log.h"

#include <chrono>
#include <ctime>
#include <utility>

#include "base/log.h"
#include "server/wire/json_out.h"

namespace sluice::router {
namespace {

constexpr size_t kBufferBytes = size_t{64} << 10;

void append_time(std::string& out) {
  const auto now = std::chrono::system_clock::now();
  const std::time_t seconds = std::chrono::system_clock::to_time_t(now);
  const auto ms =
      std::chrono::duration_cast<std::chrono::milliseconds>(now.time_since_epoch()).count() % 1000;
  std::tm parts{};
  gmtime_r(&seconds, &parts);
  char text[48];
  const size_t size = std::strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%S", &parts);
  std::snprintf(text + size, sizeof text - size, ".%03dZ", static_cast<int>(ms));
  out.append("{\"time\":\"").append(text).append("\"");
}

}  // namespace

Result<AccessLog> AccessLog::open(const std::string& where) {
  AccessLog log;
  log.where_ = where;
  if (where.empty()) return log;
  log.file_ = where == "-" ? stdout : std::fopen(where.c_str(), "ae");
  if (log.file_ == nullptr) {
    return Error{ErrorCode::kIo, "Cannot write the file of --access-log, " + where + "."};
  }
  return log;
}

AccessLog::AccessLog(AccessLog&& other) noexcept {
  *this = std::move(other);
}

AccessLog& AccessLog::operator=(AccessLog&& other) noexcept {
  std::swap(file_, other.file_);
  std::swap(where_, other.where_);
  std::swap(lines_, other.lines_);
  return *this;
}

AccessLog::~AccessLog() {
  flush();
  if (file_ != nullptr && file_ != stdout) std::fclose(file_);
}

void AccessLog::write(const AccessRecord& record) {
  if (file_ == nullptr) return;
  append_time(lines_);
  append_json_member(lines_, "request_id", record.request_id);
  append_json_member(lines_, "method", record.method);
  append_json_member(lines_, "path", record.path);
  append_json_member(lines_, "model", record.model);
  append_json_member(lines_, "tenant", record.tenant);
  append_json_member(lines_, "replica", record.replica);
  if (!record.shadow_of.empty()) append_json_member(lines_, "shadow_of", record.shadow_of);
  append_json_member(lines_, "status", record.status);
  append_json_member(lines_, "end", record.end);
  append_json_member(lines_, "attempts", record.attempts);
  append_json_member(lines_, "streamed", record.streamed);
  if (record.resumed) append_json_member(lines_, "resumed", true);
  if (record.hedged) append_json_member(lines_, "hedged", true);
  append_json_member(lines_, "bytes_in", record.bytes_in);
  append_json_member(lines_, "bytes_out", record.bytes_out);
  if (record.held_s > 0) append_json_member(lines_, "held_s", record.held_s);
  if (record.first_byte_s >= 0) append_json_member(lines_, "first_byte_s", record.first_byte_s);
  append_json_member(lines_, "duration_s", record.duration_s);
  lines_ += "}\n";
  if (lines_.size() >= kBufferBytes) flush();
}

void AccessLog::flush() {
  if (file_ == nullptr || lines_.empty()) return;
  std::fwrite(lines_.data(), 1, lines_.size(), file_);
  std::fflush(file_);
  lines_.clear();
}

void AccessLog::reopen() {
  flush();
  if (file_ == nullptr || file_ == stdout) return;
  std::FILE* fresh = std::fopen(where_.c_str(), "ae");
  if (fresh == nullptr) return log::warn("cannot write {} anew; the access log goes on where it is", where_);
  std::fclose(file_);
  file_ = fresh;
}

}  // namespace sluice::router
