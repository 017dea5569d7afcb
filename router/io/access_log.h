// One line of JSON for each request, to a file or standard output (--access-log). Buffered; written out some
// times a second. One thread.
#pragma once

#include <cstdint>
#include <cstdio>
#include <string>
#include <string_view>

#include "base/result.h"

namespace sluice::router {

struct AccessRecord {
  std::string_view request_id, method, path, model, tenant, replica;
  std::string_view shadow_of;  // the request it is a copy of
  int status = 0;              // 499: the client left before there was an answer
  std::string_view end;        // complete, cut, left, refused
  int attempts = 0;
  bool resumed = false, hedged = false, streamed = false;
  uint64_t bytes_in = 0, bytes_out = 0;
  double held_s = 0, first_byte_s = -1, duration_s = 0;
};

class AccessLog {
 public:
  // "-" is standard output, "" is nowhere.
  static Result<AccessLog> open(const std::string& where);
  AccessLog() = default;
  AccessLog(AccessLog&& other) noexcept;
  AccessLog& operator=(AccessLog&& other) noexcept;
  ~AccessLog();

  bool is_open() const { return file_ != nullptr; }
  void write(const AccessRecord& record);
  void flush();
  // The file was moved away: begin another of its name.
  void reopen();

 private:
  std::FILE* file_ = nullptr;
  std::string where_;
  std::string lines_;
};

}  // namespace sluice::router
