#include "router/io/fetch.h"

namespace sluice::router {

// A replica's URL may have a path that stands before the API's own.
std::string question_head(const Url& base, const std::string& target, const std::string& api_key,
                          const char* method) {
  std::string path = base.target.substr(0, base.target.find('?'));
  while (path.ends_with('/')) path.pop_back();
  std::string head = method + (" " + path) + target + " HTTP/1.1\r\nHost: " + base.authority() +
                     "\r\nUser-Agent: sluice-route\r\nAccept-Encoding: identity\r\n";
  if (!api_key.empty()) head += "Authorization: Bearer " + api_key + "\r\n";
  return head + "\r\n";
}

Fetch::Fetch(Upstream& upstream, UpstreamRequest request, size_t max_bytes, std::function<void(Answer)> done)
    : max_bytes_(max_bytes), done_(std::move(done)) {
  call_ = upstream.send(std::move(request), *this);
}

Fetch::Fetch(Upstream& upstream, const std::string& target, const std::string& api_key, size_t max_bytes,
             std::function<void(Answer)> done)
    : Fetch(upstream, {question_head(upstream.url(), target, api_key), nullptr}, max_bytes, std::move(done)) {
}

void Fetch::on_head(int status, HeaderList&) {
  answer_.status = status;
}

void Fetch::on_piece(std::string_view bytes) {
  if (answer_.body.size() + bytes.size() > max_bytes_) {
    call_.reset();
    answer_ = {0, "its answer is larger than " + std::to_string(max_bytes_) + " bytes"};
    return finish();
  }
  answer_.body.append(bytes);
}

void Fetch::on_end() {
  finish();
}

void Fetch::on_fault(std::string_view what) {
  answer_ = {0, std::string(what)};
  finish();
}

void Fetch::finish() {
  const auto done = std::move(done_);
  done(std::move(answer_));
}

}  // namespace sluice::router
