#include "server/net/io_threads.h"

#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <thread>

namespace sluice {

namespace asio = boost::asio;

struct IoThread::State {
  asio::io_context loop{1};
  asio::executor_work_guard<asio::io_context::executor_type> work{loop.get_executor()};
  std::thread thread;
};

IoThread::IoThread(int index) : index_(index), state_(std::make_unique<State>()) {
  state_->thread = std::thread([loop = &state_->loop] { loop->run(); });
}

IoThread::~IoThread() {
  state_->loop.stop();
  state_->thread.join();
}

void IoThread::post(std::function<void()> task) {
  asio::post(state_->loop, std::move(task));
}

void IoThread::run_after(std::chrono::milliseconds delay, std::function<void()> task) {
  auto timer = std::make_shared<asio::steady_timer>(state_->loop, delay);
  timer->async_wait([timer, task = std::move(task)](const boost::system::error_code& error) {
    if (!error) task();
  });
}

bool IoThread::is_current() const {
  return std::this_thread::get_id() == state_->thread.get_id();
}

asio::io_context& IoThread::loop() {
  return state_->loop;
}

IoThreads::IoThreads(int count) {
  for (int i = 0; i < count; ++i) threads_.push_back(std::make_unique<IoThread>(i));
}

}  // namespace sluice
