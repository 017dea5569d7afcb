#include "server/net/transport.h"

#include <algorithm>
#include <boost/asio/buffer.hpp>

namespace sluice {

namespace asio = boost::asio;
using std::chrono::milliseconds;

namespace {

bool means_later(const boost::system::error_code& error) {
  return error == asio::error::would_block || error == asio::error::try_again;
}

void drop_sent(Transport::Parts& parts, size_t sent) {
  for (std::string_view& part : parts) {
    const size_t take = std::min(sent, part.size());
    part.remove_prefix(take);
    sent -= take;
  }
}

}  // namespace

Transport::Transport(Socket socket) : socket_(std::move(socket)), deadline_(socket_.get_executor()) {
  boost::system::error_code ignored;
  socket_.non_blocking(true, ignored);
  socket_.set_option(asio::ip::tcp::no_delay(true), ignored);
}

Transport::Reading Transport::read_some(std::span<char> room) {
  boost::system::error_code error;
  const size_t bytes = socket_.read_some(asio::buffer(room.data(), room.size()), error);
  return {bytes, error && !means_later(error)};
}

asio::awaitable<bool> Transport::write_all(Parts parts, milliseconds patience) {
  for (;;) {
    std::array<asio::const_buffer, 3> buffers;
    for (size_t i = 0; i < parts.size(); ++i) buffers[i] = asio::buffer(parts[i].data(), parts[i].size());
    if (asio::buffer_size(buffers) == 0) co_return true;
    boost::system::error_code error;
    const size_t sent = socket_.write_some(buffers, error);
    if (means_later(error)) {
      const bool writable = co_await wait_for(Socket::wait_write, patience);
      if (!writable) co_return false;
      continue;
    }
    if (error) co_return false;
    drop_sent(parts, sent);
  }
}

// False when `patience` ran out, which closes the connection, or when it was closed meanwhile.
asio::awaitable<bool> Transport::wait_for(Socket::wait_type readiness, milliseconds patience) {
  const uint64_t turn = ++deadline_turn_;
  deadline_.expires_after(patience);
  deadline_.async_wait([self = shared_from_this(), turn](const boost::system::error_code& error) {
    if (!error && turn == self->deadline_turn_) self->close();
  });
  const auto [failed] = co_await ready(readiness);
  ++deadline_turn_;  // a deadline already on its way means nothing any more
  deadline_.cancel();
  co_return !failed && socket_.is_open();
}

void Transport::shutdown_send() {
  boost::system::error_code ignored;
  socket_.shutdown(Socket::shutdown_send, ignored);
}

void Transport::close() {
  boost::system::error_code ignored;
  socket_.close(ignored);
}

}  // namespace sluice
