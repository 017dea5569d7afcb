// Requests to servers behind TLS: who is believed, who is not, and what a connection costs the second time.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <future>
#include <optional>

#include "server/net/tls_stream.h"
#include "server/net/upstream.h"
#include "tests/server/net/net_world.h"
#include "tests/support/raw_http.h"
#include "tests/support/temp_folder.h"
#include "tests/support/test_certificates.h"

namespace sluice {
namespace {

using testing::eventually;
using testing::NetWorld;
using testing::PemPair;
using testing::TestAuthority;

struct Answer final : UpstreamSink {
  void on_head(int code, HeaderList&) override { status = code; }
  void on_piece(std::string_view bytes) override { body += bytes; }
  void on_end() override { over = "end"; }
  void on_fault(std::string_view what) override { over = what; }
  int status = 0;
  std::string body, over;
  std::unique_ptr<UpstreamCall> call;
};

class UpstreamTls : public ::testing::Test {
 protected:
  UpstreamTls() {
    write(authority_.sign("server"), certificate_, key_);
    write(authority_.sign("client"), own_certificate_, own_key_);
    write_file(authorities_, authority_.own().certificate);
    write_file(strangers_, stranger_.own().certificate);
  }
  static void write(const PemPair& pair, const std::string& certificate, const std::string& key) {
    write_file(certificate, pair.certificate);
    write_file(key, pair.key);
  }
  void serve(TlsOptions options = {}) {
    options.certfile = certificate_;
    options.keyfile = key_;
    ListenOptions listen;
    listen.tls = TlsIdentity::load(options).value();
    world_.emplace(std::move(listen));
  }
  TlsTrustOptions trusting(const std::string& authorities) const {
    return {.authorities = {"--ca", authorities}, .certificate = {"--cert", ""}, .key = {"--key", ""}};
  }
  template <class Task>
  auto on_io(Task task) {
    std::promise<decltype(task())> done;
    threads_.at(0).post([&] { done.set_value(task()); });
    return done.get_future().get();
  }
  std::unique_ptr<Upstream> upstream(const TlsTrustOptions& options, const std::string& server_name = "",
                                     const std::string& host = "127.0.0.1") {
    auto trust = TlsTrust::load(options);
    EXPECT_TRUE(trust.ok()) << (trust.ok() ? "" : trust.error().message);
    const Url url = parse_url("https://" + host + ":" + std::to_string(world_->port())).value();
    UpstreamOptions upstream;
    upstream.tls = std::move(trust).value();
    upstream.server_name = server_name;
    return on_io([&] { return std::make_unique<Upstream>(threads_.at(0), url, upstream); });
  }
  // "200 BODY", or what went wrong.
  std::string ask(Upstream& upstream, const std::string& body = "hello") {
    Answer answer;
    on_io([&] {
      const std::string head =
          "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: " + std::to_string(body.size()) + "\r\n\r\n";
      answer.call = upstream.send({head, std::make_shared<const std::string>(body)}, answer);
      return true;
    });
    EXPECT_TRUE(eventually([&] { return on_io([&] { return !answer.over.empty(); }); }));
    return on_io([&] {
      answer.call.reset();
      return answer.over == "end" ? std::to_string(answer.status) + " " + answer.body : answer.over;
    });
  }
  void end(std::unique_ptr<Upstream> upstream) {
    on_io([&] {
      upstream.reset();
      return true;
    });
  }
  std::string ask_once(const TlsTrustOptions& options, const std::string& server_name = "",
                       const std::string& host = "127.0.0.1") {
    auto there = upstream(options, server_name, host);
    const std::string answer = ask(*there);
    end(std::move(there));
    return answer;
  }

  TestAuthority authority_, stranger_{"a stranger"};
  TempFolder folder_;
  const std::string certificate_ = folder_ / "server.pem", key_ = folder_ / "server.key";
  const std::string own_certificate_ = folder_ / "client.pem", own_key_ = folder_ / "client.key";
  const std::string authorities_ = folder_ / "authorities.pem", strangers_ = folder_ / "strangers.pem";
  std::optional<NetWorld> world_;
  IoThreads threads_{1};
};

TEST_F(UpstreamTls, carries_answers_of_all_sizes_over_one_kept_connection) {
  serve();
  auto there = upstream(trusting(authorities_));
  for (const size_t size : {size_t{5}, size_t{1}, size_t{16384}, size_t{16385}, size_t{3} << 20}) {
    EXPECT_EQ(ask(*there, std::string(size, 'x')), "200 " + std::string(size, 'x'));
    EXPECT_EQ(on_io([&] { return there->idle_connections(); }), 1U);
  }
  end(std::move(there));
}

TEST_F(UpstreamTls, believes_only_whom_it_was_told_to) {
  serve();
  EXPECT_EQ(ask_once(trusting(authorities_)), "200 hello");
  EXPECT_THAT(ask_once(trusting(strangers_)), ::testing::HasSubstr("certificate verify failed"));
  EXPECT_THAT(ask_once(trusting("")), ::testing::HasSubstr("certificate verify failed"))
      << "the system's authorities do not sign for tests";
  TlsTrustOptions blind = trusting("");
  blind.checks_server = false;
  EXPECT_EQ(ask_once(blind), "200 hello");
}

TEST_F(UpstreamTls, wants_the_certificate_to_be_for_the_server) {
  serve();
  EXPECT_EQ(ask_once(trusting(authorities_), "localhost"), "200 hello");
  EXPECT_THAT(ask_once(trusting(authorities_), "elsewhere.test"), ::testing::HasSubstr("mismatch"));
  EXPECT_THAT(ask_once(trusting(authorities_), "10.1.2.3"), ::testing::HasSubstr("mismatch"));
  EXPECT_EQ(ask_once(trusting(authorities_), "", "localhost"), "200 hello");
}

TEST_F(UpstreamTls, shows_its_own_certificate_where_it_has_one) {
  serve({.ca_certs = authorities_, .cert_reqs = 2});
  EXPECT_NE(ask_once(trusting(authorities_)), "200 hello");
  TlsTrustOptions known = trusting(authorities_);
  known.certificate.path = own_certificate_;
  known.key.path = own_key_;
  EXPECT_EQ(ask_once(known), "200 hello");
}

TEST_F(UpstreamTls, a_server_that_speaks_no_tls_is_a_fault_in_words) {
  world_.emplace();
  EXPECT_THAT(ask_once(trusting(authorities_)), ::testing::StartsWith("TLS: "));
}

TEST_F(UpstreamTls, reads_changed_files_before_the_next_connection) {
  serve();
  write_file(authorities_, stranger_.own().certificate);
  auto there = upstream(trusting(authorities_));
  EXPECT_NE(ask(*there), "200 hello");
  write_file(authorities_, "nonsense");
  EXPECT_NE(ask(*there), "200 hello");
  write_file(authorities_, authority_.own().certificate);
  EXPECT_TRUE(eventually([&] { return ask(*there) == "200 hello"; }));
  end(std::move(there));
}

// A connection by hand, on a blocking socket, up to the first bytes of an answer.
struct ByHand : testing::RawClient {
  ByHand(uint16_t port, TlsTrust& trust, const TlsTicket& ticket)
      : RawClient(port, 0), stream(trust.connect(socket(), "localhost", ticket)) {
    EXPECT_EQ(stream->shake_hands().next, TlsStream::Next::kGoOn) << stream->fault();
    stream->write_some({"GET /id HTTP/1.1\r\nHost: t\r\n\r\n", {}, {}});
    std::vector<char> room(TlsStream::kRecordBytes);
    TlsStream::Step step;  // tickets come before the answer
    while (step.bytes == 0 && step.next != TlsStream::Next::kEnded) step = stream->read_some(room);
    EXPECT_GT(step.bytes, 0U) << stream->fault();
  }
  std::unique_ptr<TlsStream> stream;
};

TEST_F(UpstreamTls, the_second_handshake_is_short_unless_trust_has_changed) {
  serve();
  const auto trust = TlsTrust::load(trusting(authorities_)).value();
  ByHand first(world_->port(), *trust, {});
  EXPECT_FALSE(first.stream->was_resumed());
  const TlsTicket ticket = trust->ticket_of(*first.stream);
  ASSERT_NE(ticket.session, nullptr);
  EXPECT_TRUE(ByHand(world_->port(), *trust, ticket).stream->was_resumed());
  write_file(authorities_, authority_.own().certificate + stranger_.own().certificate);
  EXPECT_TRUE(eventually([&] { return !ByHand(world_->port(), *trust, ticket).stream->was_resumed(); }));
}

TEST_F(UpstreamTls, names_the_flag_of_a_file_that_is_wrong) {
  const auto fault = [](const TlsTrustOptions& options) {
    const auto loaded = TlsTrust::load(options);
    return loaded.ok() ? std::string() : loaded.error().message;
  };
  TlsTrustOptions options = trusting(folder_ / "nowhere");
  EXPECT_THAT(fault(options), ::testing::StartsWith("--ca "));
  options = trusting(authorities_);
  options.key.path = own_key_;
  EXPECT_THAT(fault(options), ::testing::HasSubstr("--cert"));
  options.certificate.path = own_certificate_;
  EXPECT_EQ(fault(options), "");
  options.key.path = key_;
  EXPECT_THAT(fault(options), ::testing::HasSubstr("does not belong"));
}

}  // namespace
}  // namespace sluice
