// Connections through TLS over real sockets: what goes right, who is turned away, what hostile bytes do, and
// a certificate that changes while connections go on.
#include <gtest/gtest.h>

#include <filesystem>
#include <random>
#include <thread>

#include "server/net/tls_identity.h"
#include "tests/server/net/net_world.h"
#include "tests/support/temp_folder.h"
#include "tests/support/tls_client.h"

namespace sluice {
namespace {

using std::chrono::milliseconds;
using testing::echo;
using testing::eventually;
using testing::get_request;
using testing::NetWorld;
using testing::PemPair;
using testing::RawClient;
using testing::TestAuthority;
using testing::TlsClient;
using testing::TlsClientOptions;

// A server's files and the authority that signed them.
struct Files {
  Files() { write(authority.sign("first")); }
  void write(const PemPair& pair) {
    write_file(certificate, pair.certificate);
    write_file(key, pair.key);
  }
  TlsOptions options() const { return {.certfile = certificate, .keyfile = key}; }

  TestAuthority authority;
  TempFolder folder;
  std::string certificate = folder / "certificate.pem", key = folder / "key.pem";
};

class TlsWorld {
 public:
  explicit TlsWorld(ListenOptions options = {}, TlsOptions tls = {}, int io_threads = 1) {
    if (tls.certfile.empty()) {
      tls.certfile = files.certificate;
      tls.keyfile = files.key;
    }
    auto loaded = TlsIdentity::load(tls);
    EXPECT_TRUE(loaded.ok()) << loaded.error().message;
    identity = std::move(loaded).value();
    options.tls = identity;
    net.emplace(std::move(options), io_threads);
  }
  TlsClientOptions trusting() const { return {.trusted = files.authority.own().certificate}; }
  TlsClient client() { return TlsClient(net->port(), trusting()); }

  Files files;
  std::shared_ptr<TlsIdentity> identity;
  std::optional<NetWorld> net;
};

// ---- what goes right ----

TEST(Tls, carries_answers_of_all_sizes_in_both_versions) {
  TlsWorld world;
  for (const int version : {TLS1_2_VERSION, TLS1_3_VERSION}) {
    TlsClientOptions options = world.trusting();
    options.version = version;
    TlsClient client(world.net->port(), options);
    ASSERT_TRUE(client.connected());
    for (const size_t size : {size_t{5}, size_t{0}, size_t{16384}, size_t{16385}, size_t{3} << 20}) {
      std::thread sender([&] { EXPECT_TRUE(client.send(echo(std::string(size, 'b')))); });
      sender.join();
      const auto response = client.read_response();
      EXPECT_EQ(response.status, 200);
      EXPECT_EQ(response.body, std::string(size, 'b'));
    }
    client.send(get_request("/pieces"));
    EXPECT_EQ(client.read_response().body, "one two");
  }
}

TEST(Tls, answers_pipelined_requests_in_order) {
  TlsWorld world;
  TlsClient client = world.client();
  std::string all;
  for (int i = 0; i < 200; ++i)
    all += i % 3 == 0 ? get_request("/late") : echo("number " + std::to_string(i));
  client.send(all);
  for (int i = 0; i < 200; ++i)
    ASSERT_EQ(client.read_response().body, i % 3 == 0 ? "late" : "number " + std::to_string(i));
}

// A chunk's size, content and end are one record, or a token would cost three.
TEST(Tls, sends_a_piece_as_one_record) {
  TlsWorld world;
  TlsClientOptions options = world.trusting();
  options.version = TLS1_2_VERSION;  // no session tickets behind the handshake
  TlsClient client(world.net->port(), options);
  client.send(get_request("/pieces"));
  EXPECT_EQ(client.read_response().body, "one two");
  EXPECT_LE(client.records(), 3);  // the head with the first piece, the second, the end
}

TEST(Tls, agrees_on_http_1_1_and_on_nothing_else) {
  TlsWorld world;
  TlsClientOptions options = world.trusting();
  options.protocols = std::string("\x02h2\x08http/1.1");
  TlsClient client(world.net->port(), options);
  ASSERT_TRUE(client.connected());
  EXPECT_EQ(client.protocol(), "http/1.1");
  options.protocols = std::string("\x02h2");
  EXPECT_FALSE(TlsClient(world.net->port(), options).connected());
}

TEST(Tls, refuses_old_versions) {
  TlsWorld world;
  for (const int version : {TLS1_VERSION, TLS1_1_VERSION}) {
    TlsClientOptions options = world.trusting();
    options.version = version;
    EXPECT_FALSE(TlsClient(world.net->port(), options).connected());
  }
}

TEST(Tls, says_goodbye_when_the_connection_ends) {
  TlsWorld world;
  TlsClient client = world.client();
  client.send(echo("x", "Connection: close\r\n"));
  EXPECT_EQ(client.read_response().body, "x");
  EXPECT_TRUE(client.is_closed_now());
  EXPECT_TRUE(client.was_told_goodbye());
}

TEST(Tls, goes_on_with_new_keys_when_the_client_asks_for_them) {
  TlsWorld world;
  TlsClient client = world.client();
  for (int i = 0; i < 3; ++i) {
    ASSERT_EQ(SSL_key_update(client.tls(), SSL_KEY_UPDATE_REQUESTED), 1);
    client.send(echo("again"));
    EXPECT_EQ(client.read_response().body, "again");
  }
}

TEST(Tls, serves_many_connections_on_several_threads_while_the_certificate_changes) {
  TlsWorld world({}, {}, 3);
  std::vector<std::thread> clients;
  std::atomic<int> good{0};
  for (int c = 0; c < 8; ++c) {
    clients.emplace_back([&, c] {
      for (int i = 0; i < 10; ++i) {
        TlsClient client = world.client();
        const std::string body = std::to_string(c) + "/" + std::to_string(i);
        for (const bool pieces : {true, false}) {
          client.send(pieces ? get_request("/pieces") : echo(body));
          if (client.read_response().body == (pieces ? "one two" : body)) ++good;
        }
      }
    });
  }
  for (int i = 0; i < 20; ++i) EXPECT_TRUE(world.identity->reload().ok());
  for (auto& client : clients) client.join();
  EXPECT_EQ(good, 8 * 10 * 2);
}

// ---- who leaves, and who does not read ----

TEST(Tls, cancels_when_the_client_leaves) {
  TlsWorld world;
  enum class Leaving { kGoodbye, kFin, kReset };
  for (const Leaving leaving : {Leaving::kGoodbye, Leaving::kFin, Leaving::kReset}) {
    TlsClient client = world.client();
    client.send(get_request("/hold"));
    ASSERT_TRUE(eventually([&] { return world.net->alive == 1; }));
    if (leaving == Leaving::kGoodbye) client.say_goodbye();  // and keeps the socket
    if (leaving == Leaving::kFin) client.close();
    if (leaving == Leaving::kReset) client.reset();
    EXPECT_TRUE(eventually([&] { return world.net->alive == 0; }));
  }
}

TEST(Tls, cancels_a_client_that_does_not_read) {
  ListenOptions options;
  options.max_unsent_bytes = 256 << 10;
  TlsWorld world(options);
  TlsClientOptions slow = world.trusting();
  slow.receive_buffer_bytes = 4096;
  TlsClient client(world.net->port(), slow);
  client.send(get_request("/flood"));
  ASSERT_TRUE(eventually([&] { return world.net->flooded > 0; }));
  EXPECT_TRUE(eventually([&] { return world.net->alive == 0; }));
  EXPECT_LT(world.net->flooded, int64_t{64} << 20);
}

TEST(Tls, sees_a_departure_behind_many_pipelined_bytes) {
  TlsWorld world;
  TlsClient client = world.client();
  client.send(get_request("/hold"));
  ASSERT_TRUE(eventually([&] { return world.net->alive == 1; }));
  client.send(std::string(8 << 20, 'x'));
  client.close();
  EXPECT_TRUE(eventually([&] { return world.net->alive == 0; }));
}

// ---- hostile bytes ----

TEST(Tls, tells_those_who_speak_plain_http) {
  TlsWorld world;
  for (const std::string& request : {get_request("/id"), echo(std::string(100000, 'x')),
                                     std::string("DELETE / HTTP/1.1\r\nHost: t\r\n\r\n")}) {
    RawClient client(world.net->port());
    client.send(request);
    const auto response = client.read_response();
    EXPECT_EQ(response.status, 400);
    EXPECT_NE(response.body.find("https://"), std::string::npos);
    EXPECT_TRUE(client.is_closed_now());
  }
  EXPECT_EQ(world.net->answered, 0);
}

TEST(Tls, survives_garbage_in_place_of_a_handshake) {
  TlsWorld world;
  const unsigned seed = std::random_device{}();
  std::mt19937 random(seed);
  SCOPED_TRACE("seed " + std::to_string(seed));
  for (int i = 0; i < 200; ++i) {
    std::string bytes(random() % 3000, '\0');
    for (char& c : bytes) c = static_cast<char>(random());
    const bool looks_like_tls = i % 2 == 0 && bytes.size() > 9;
    if (looks_like_tls) {  // a handshake record with a ClientHello of some length
      const std::string head("\x16\x03\x01\x04\x00\x01\x00\x03\xfc", 9);
      bytes.replace(0, head.size(), head);
    }
    RawClient client(world.net->port());
    client.send(bytes);
    if (i % 3 == 0)
      client.reset();
    else
      client.end_sending();
  }
  EXPECT_TRUE(eventually([&] { return world.net->listener().connections() == 0; }));
  TlsClient client = world.client();
  client.send(echo("still here"));
  EXPECT_EQ(client.read_response().body, "still here");
}

TEST(Tls, cuts_a_handshake_that_takes_too_long) {
  ListenOptions options;
  options.head_timeout = milliseconds(50);
  TlsWorld world(options);
  RawClient silent(world.net->port()), halting(world.net->port());
  halting.send(std::string("\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 11));
  EXPECT_TRUE(silent.is_closed_now());
  EXPECT_TRUE(halting.is_closed_now());
  EXPECT_TRUE(eventually([&] { return world.net->listener().connections() == 0; }));
}

TEST(Tls, survives_records_that_are_broken_or_cut) {
  TlsWorld world;
  for (const std::string& bytes :
       {std::string("\x17\x03\x03\x40\x00half a record", 18), std::string("\x17\x03\x03\xff\xff", 5),
        std::string("\x17\x03\x03\x00\x20") + std::string(32, 'z'), std::string(5000, 'q')}) {
    TlsClient client = world.client();
    client.send("POST /echo HTTP/1.1\r\nHost: t\r\nContent-Length: 100\r\n\r\nbeginning");
    client.send_raw(bytes);
    client.end_sending();
    EXPECT_TRUE(client.raw_is_closed());
  }
  EXPECT_TRUE(eventually([&] { return world.net->listener().connections() == 0; }));
  EXPECT_EQ(world.net->answered, 0);
}

TEST(Tls, is_cut_in_the_middle_of_a_handshake_when_the_listener_goes) {
  TlsWorld world;
  RawClient client(world.net->port());
  client.send(std::string("\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 11));
  ASSERT_TRUE(eventually([&] { return world.net->listener().connections() == 1; }));
  world.net.reset();
  EXPECT_TRUE(client.is_closed_now());
}

// ---- clients' certificates ----

TEST(Tls, requires_a_clients_certificate_of_the_right_authority) {
  Files files;
  TestAuthority clients("clients' authority"), strangers("strangers' authority");
  const std::string authorities = files.folder / "clients.pem";
  write_file(authorities, clients.own().certificate);
  for (const int required : {1, 2}) {
    TlsOptions tls = files.options();
    tls.ca_certs = authorities;
    tls.cert_reqs = required;
    TlsWorld world({}, tls);
    const auto status = [&](const PemPair& own) {
      TlsClientOptions options{.trusted = files.authority.own().certificate, .own = own};
      TlsClient client(world.net->port(), options);
      client.send(echo("x"));
      return client.read_response().status;
    };
    EXPECT_EQ(status(clients.sign("alice")), 200);
    EXPECT_EQ(status({}), required == 2 ? 0 : 200);
    EXPECT_EQ(status(strangers.sign("mallory")), 0);
    EXPECT_EQ(status(clients.sign("late", -1)), 0);
    EXPECT_EQ(status(clients.sign("bob")), 200);
  }
}

// ---- the certificate's files ----

TEST(TlsIdentity, changes_while_a_stream_goes_on) {
  TlsWorld world;
  TlsClient old = world.client();
  old.send(get_request("/flood"));
  ASSERT_TRUE(old.wait_for("xxxx"));
  world.files.write(world.files.authority.sign("second"));
  EXPECT_TRUE(world.identity->files_changed());
  ASSERT_TRUE(world.identity->reload().ok());
  EXPECT_FALSE(world.identity->files_changed());
  EXPECT_EQ(world.client().server_name(), "second");
  EXPECT_TRUE(old.wait_for_size(old.received().size() + (size_t{4} << 20)));
  EXPECT_EQ(old.server_name(), "first");
  EXPECT_EQ(world.net->alive, 1);
}

TEST(TlsIdentity, stays_as_it_is_when_the_new_pair_is_broken) {
  TlsWorld world;
  const PemPair second = world.files.authority.sign("second");
  write_file(world.files.certificate, second.certificate);  // the key is still the first's
  EXPECT_TRUE(world.identity->files_changed());
  const Status halfway = world.identity->reload();
  ASSERT_FALSE(halfway.ok());
  EXPECT_NE(halfway.error().message.find("does not belong"), std::string::npos);
  EXPECT_FALSE(world.identity->files_changed());  // complained once
  EXPECT_EQ(world.client().server_name(), "first");
  std::filesystem::remove(world.files.key);
  EXPECT_TRUE(world.identity->files_changed());
  EXPECT_FALSE(world.identity->reload().ok());
  EXPECT_EQ(world.client().server_name(), "first");
  write_file(world.files.key, second.key);
  EXPECT_TRUE(world.identity->files_changed());
  EXPECT_TRUE(world.identity->reload().ok());
  EXPECT_EQ(world.client().server_name(), "second");
}

// As Kubernetes exchanges a secret: the files are links through a link that is renamed over.
TEST(TlsIdentity, sees_a_link_that_was_exchanged) {
  namespace fs = std::filesystem;
  Files files;
  const auto put = [&](const std::string& version) {
    const PemPair pair = files.authority.sign(version);
    write_file(files.folder / (version + "/tls.crt"), pair.certificate);
    write_file(files.folder / (version + "/tls.key"), pair.key);
    fs::create_directory_symlink(version, files.folder / "new");
    fs::rename(files.folder / "new", files.folder / "data");
  };
  put("v1");
  fs::create_symlink("data/tls.crt", files.folder / "tls.crt");
  fs::create_symlink("data/tls.key", files.folder / "tls.key");
  auto identity =
      TlsIdentity::load({.certfile = files.folder / "tls.crt", .keyfile = files.folder / "tls.key"});
  ASSERT_TRUE(identity.ok()) << identity.error().message;
  EXPECT_NE((*identity)->describe().find("v1"), std::string::npos);
  put("v2");
  EXPECT_TRUE((*identity)->files_changed());
  ASSERT_TRUE((*identity)->reload().ok());
  EXPECT_NE((*identity)->describe().find("v2"), std::string::npos);
}

TEST(TlsIdentity, takes_the_key_from_the_certificates_file_when_it_is_there) {
  Files files;
  const PemPair pair = files.authority.sign("both");
  write_file(files.certificate, pair.certificate + pair.key);
  EXPECT_TRUE(TlsIdentity::load({.certfile = files.certificate}).ok());
}

TEST(TlsIdentity, tells_that_a_certificate_has_expired) {
  Files files;
  files.write(files.authority.sign("old", -1));
  auto identity = TlsIdentity::load(files.options());
  ASSERT_TRUE(identity.ok());
  EXPECT_TRUE((*identity)->expired());
}

TEST(TlsIdentity, says_what_is_wrong_with_the_files) {
  Files files;
  const PemPair pair = files.authority.sign("pair"), other = files.authority.sign("other");
  const std::string certificate = files.folder / "c", key = files.folder / "k", foreign = files.folder / "f",
                    secret = files.folder / "s", garbage = files.folder / "g", empty = files.folder / "e",
                    nowhere = files.folder / "nowhere";
  write_file(certificate, pair.certificate);
  write_file(key, pair.key);
  write_file(foreign, other.key);
  write_file(secret, testing::encrypted(pair.key));
  write_file(garbage,
             "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n" + std::string(300, '\xff'));
  write_file(empty, "");
  struct Case {
    TlsOptions options;
    std::string flag, words;
  };
  for (const Case& wrong : std::vector<Case>{
           {{.certfile = nowhere, .keyfile = key}, "--ssl-certfile", "cannot be read"},
           {{.certfile = garbage, .keyfile = key}, "--ssl-certfile", "no usable PEM certificate"},
           {{.certfile = empty, .keyfile = key}, "--ssl-certfile", "no usable PEM certificate"},
           {{.certfile = files.folder / "", .keyfile = key}, "--ssl-certfile", "directory"},
           {{.certfile = certificate}, "--ssl-certfile", "Name the key's file by --ssl-keyfile"},
           {{.certfile = certificate, .keyfile = nowhere}, "--ssl-keyfile", "cannot be read"},
           {{.certfile = certificate, .keyfile = garbage}, "--ssl-keyfile", "no usable PEM private key"},
           {{.certfile = certificate, .keyfile = foreign}, "--ssl-keyfile", "does not belong"},
           {{.certfile = certificate, .keyfile = secret}, "--ssl-keyfile", "encrypted"},
           {{.keyfile = key}, "--ssl-keyfile", "without --ssl-certfile"},
           {{.ca_certs = certificate}, "--ssl-ca-certs", "without --ssl-certfile"},
           {{.cert_reqs = 2}, "--ssl-cert-reqs", "without --ssl-certfile"},
           {{.certfile = certificate, .keyfile = key, .cert_reqs = 2}, "--ssl-cert-reqs", "--ssl-ca-certs"},
           {{.certfile = certificate, .keyfile = key, .ca_certs = certificate},
            "--ssl-ca-certs",
            "--ssl-cert-reqs"},
           {{.certfile = certificate, .keyfile = key, .ca_certs = garbage, .cert_reqs = 2},
            "--ssl-ca-certs",
            "no usable PEM certificates"},
           {{.certfile = certificate, .keyfile = key, .ca_certs = nowhere, .cert_reqs = 1},
            "--ssl-ca-certs",
            "cannot be read"},
       }) {
    const auto identity = TlsIdentity::load(wrong.options);
    ASSERT_FALSE(identity.ok()) << wrong.words;
    EXPECT_EQ(identity.error().param, wrong.flag) << identity.error().message;
    EXPECT_NE(identity.error().message.find(wrong.words), std::string::npos) << identity.error().message;
  }
}

}  // namespace
}  // namespace sluice
