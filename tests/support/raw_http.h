// A client that sends exactly the bytes it is given and takes answers apart by itself, so that a test sees
// what is on the wire. Test threads.
#pragma once

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstdint>
#include <map>
#include <string>
#include <string_view>

namespace sluice::testing {

struct RawResponse {
  int status = 0;                              // 0: the connection ended before a whole answer
  std::map<std::string, std::string> headers;  // names in lower case
  std::string body;                            // chunks joined
  bool complete = false;                       // the body ended as its framing says
};

class RawClient {
 public:
  explicit RawClient(uint16_t port, int receive_buffer_bytes = 0)
      : socket_(::socket(AF_INET, SOCK_STREAM, 0)) {
    if (receive_buffer_bytes > 0) {
      ::setsockopt(socket_, SOL_SOCKET, SO_RCVBUF, &receive_buffer_bytes, sizeof receive_buffer_bytes);
    }
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(port);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    EXPECT_EQ(::connect(socket_, reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
  }
  RawClient(const RawClient&) = delete;
  virtual ~RawClient() { close(); }

  void close() {
    if (socket_ >= 0) ::close(socket_);
    socket_ = -1;
  }
  void reset() {  // ends with RST instead of FIN
    const linger hard{1, 0};
    ::setsockopt(socket_, SOL_SOCKET, SO_LINGER, &hard, sizeof hard);
    close();
  }
  void end_sending() { ::shutdown(socket_, SHUT_WR); }

  // False when the server has closed.
  bool send(std::string_view bytes) {
    while (!bytes.empty()) {
      const ssize_t sent = give(bytes);
      if (sent <= 0) return false;
      bytes.remove_prefix(static_cast<size_t>(sent));
    }
    return true;
  }

  // Until `text` was received, or the connection ended.
  bool wait_for(std::string_view text) {
    while (buffer_.find(text) == std::string::npos) {
      if (!receive()) return false;
    }
    return true;
  }
  bool wait_for_size(size_t bytes) { return have(bytes); }
  const std::string& received() const { return buffer_; }

  // True when the server closes without sending more.
  bool is_closed_now() { return buffer_.empty() && !receive(); }

  RawResponse read_response(bool head_only = false) {
    RawResponse response;
    if (!wait_for("\r\n\r\n")) return response;
    const size_t head_end = buffer_.find("\r\n\r\n") + 4;
    const std::string head = buffer_.substr(0, head_end);
    buffer_.erase(0, head_end);
    response.status = std::stoi(head.substr(9, 3));
    size_t at = head.find("\r\n") + 2;
    while (at + 2 < head.size()) {
      const size_t end = head.find("\r\n", at);
      const size_t colon = head.find(": ", at);
      std::string name = head.substr(at, colon - at);
      for (char& c : name) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
      response.headers[name] = head.substr(colon + 2, end - colon - 2);
      at = end + 2;
    }
    if (response.status == 100) return read_response(head_only);
    if (head_only)
      response.complete = true;
    else if (response.headers.count("content-length") > 0)
      read_sized(response, std::stoull(response.headers["content-length"]));
    else if (response.headers.count("transfer-encoding") > 0)
      read_chunks(response);
    else
      read_to_end(response);
    return response;
  }

 protected:
  // How many bytes went or came; 0 or less: no more do.
  virtual ssize_t give(std::string_view bytes) {
    return ::send(socket_, bytes.data(), bytes.size(), MSG_NOSIGNAL);
  }
  virtual ssize_t take(char* out, size_t size) {
    pollfd ask{socket_, POLLIN, 0};
    if (::poll(&ask, 1, 60000) != 1) {
      ADD_FAILURE() << "nothing came for a minute; so far: " << buffer_.substr(0, 2000);
      return -1;
    }
    return ::recv(socket_, out, size, 0);
  }
  int socket() const { return socket_; }

 private:
  bool receive() {
    char piece[65536];
    const ssize_t size = take(piece, sizeof piece);
    if (size <= 0) return false;
    buffer_.append(piece, static_cast<size_t>(size));
    return true;
  }
  bool have(size_t bytes) {
    while (buffer_.size() < bytes) {
      if (!receive()) return false;
    }
    return true;
  }
  void read_sized(RawResponse& response, size_t size) {
    response.complete = have(size);
    response.body = buffer_.substr(0, size);
    buffer_.erase(0, size);
  }
  void read_chunks(RawResponse& response) {
    for (;;) {
      if (!wait_for("\r\n")) return;
      const size_t line = buffer_.find("\r\n");
      const size_t size = std::stoull(buffer_.substr(0, line), nullptr, 16);
      if (!have(line + 2 + size + 2)) return;
      response.body += buffer_.substr(line + 2, size);
      buffer_.erase(0, line + 2 + size + 2);
      if (size == 0) {
        response.complete = true;
        return;
      }
    }
  }
  void read_to_end(RawResponse& response) {
    while (receive()) {
    }
    response.body = std::move(buffer_);
    buffer_.clear();
    response.complete = true;
  }

  int socket_;
  std::string buffer_;
};

inline std::string get_request(const std::string& path) {
  return "GET " + path + " HTTP/1.1\r\nHost: test\r\n\r\n";
}

inline std::string post_request(const std::string& path, const std::string& body,
                                const std::string& more_headers = "") {
  return "POST " + path + " HTTP/1.1\r\nHost: test\r\nContent-Type: application/json\r\nContent-Length: " +
         std::to_string(body.size()) + "\r\n" + more_headers + "\r\n" + body;
}

}  // namespace sluice::testing
