// The threads that do network I/O: each runs its own event loop; a connection and all its requests stay on
// one of them.
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <vector>

namespace boost::asio {
class io_context;
}

namespace sluice {

class IoThread {
 public:
  explicit IoThread(int index);
  ~IoThread();  // stops the loop, joins; what was posted and has not run is dropped

  // Any thread: `task` runs on this thread, in order of posting. Tasks must not throw.
  void post(std::function<void()> task);
  void run_after(std::chrono::milliseconds delay, std::function<void()> task);
  int index() const { return index_; }
  bool is_current() const;

  boost::asio::io_context& loop();  // for net's own files

 private:
  struct State;
  const int index_;
  std::unique_ptr<State> state_;
};

class IoThreads {
 public:
  explicit IoThreads(int count);
  int count() const { return static_cast<int>(threads_.size()); }
  IoThread& at(int index) { return *threads_[static_cast<size_t>(index)]; }

 private:
  std::vector<std::unique_ptr<IoThread>> threads_;
};

}  // namespace sluice
