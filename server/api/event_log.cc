#include "server/api/event_log.h"

#include <algorithm>

#include "server/net/io_threads.h"
#include "server/net/sse.h"

namespace sluice {

bool EventLog::append(std::string_view events) {
  std::lock_guard lock(mutex_);
  if (closed_ || text_.size() + events.size() > max_bytes_) return false;
  const size_t before = text_.size();
  text_ += events;
  for (size_t at = before; at < text_.size();) {
    starts_.push_back(at);
    const size_t end = text_.find(kSseEnd, at);
    at = end == std::string::npos ? text_.size() : end + kSseEnd.size();
  }
  wake();
  return true;
}

void EventLog::close() {
  std::lock_guard lock(mutex_);
  closed_ = true;
  wake();
}

size_t EventLog::bytes() const {
  std::lock_guard lock(mutex_);
  return text_.size();
}

void EventLog::wake() {
  std::erase_if(readers_, [](const Reader& reader) { return reader.follower.expired(); });
  for (const Reader& reader : readers_) {
    reader.io->post([weak = reader.follower] {
      if (const auto follower = weak.lock()) follower->send_news();
    });
  }
}

void LogFollower::start(size_t first_event) {
  {
    std::lock_guard lock(log_->mutex_);
    sent_ = first_event < log_->starts_.size() ? log_->starts_[first_event] : log_->text_.size();
    log_->readers_.push_back({&exchange_.io(), weak_from_this()});
  }
  exchange_.begin(sse_head());
  send_news();
}

void LogFollower::send_news() {
  if (over_) return;
  std::string news;
  bool closed = false;
  {
    std::lock_guard lock(log_->mutex_);
    news = log_->text_.substr(sent_);
    sent_ = log_->text_.size();
    closed = log_->closed_;
  }
  if (!news.empty() && !exchange_.write(news)) over_ = true;
  if (!closed || over_) return;
  over_ = true;
  exchange_.end();
}

}  // namespace sluice
