// A small question of the router's own: the whole answer at once, bounded in bytes. Who asks bounds the time:
// destroying a Fetch ends it. One I/O thread.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "server/net/upstream.h"

namespace sluice::router {

class Fetch final : public UpstreamSink {
 public:
  struct Answer {
    int status = 0;  // 0: there was none; `body` then says why
    std::string body;
  };
  // `done` is called once, and may destroy this.
  Fetch(Upstream& upstream, UpstreamRequest request, size_t max_bytes, std::function<void(Answer)> done);
  // GET.
  Fetch(Upstream& upstream, const std::string& target, const std::string& api_key, size_t max_bytes,
        std::function<void(Answer)> done);

 private:
  void on_head(int status, HeaderList& headers) override;
  void on_piece(std::string_view bytes) override;
  void on_end() override;
  void on_fault(std::string_view what) override;
  void finish();

  const size_t max_bytes_;
  std::function<void(Answer)> done_;
  Answer answer_;
  std::unique_ptr<UpstreamCall> call_;
};

// The head of such a question.
std::string question_head(const Url& base, const std::string& target, const std::string& api_key,
                          const char* method = "GET");

}  // namespace sluice::router
