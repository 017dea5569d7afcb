#include "deploy/up/options.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace sluice::up {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

UpOptions parse(std::vector<std::string> words) {
  const ParsedUpOptions parsed = parse_up_options(words);
  EXPECT_TRUE(parsed.options) << parsed.text;
  return parsed.options.value_or(UpOptions{});
}

std::string complaint(std::vector<std::string> words) {
  const ParsedUpOptions parsed = parse_up_options(words);
  EXPECT_FALSE(parsed.options);
  EXPECT_EQ(parsed.exit_code, 2);
  return parsed.text;
}

TEST(UpOptions, parts_what_is_whose) {
  const UpOptions options =
      parse({"--replicas", "2..6", "model.gguf", "--port=9000", "--max-num-seqs", "8", "--slo-ttft=1",
             "--api-key", "sesame", "--threads=2", "--", "--slow-start", "5"});
  EXPECT_EQ(options.min_replicas, 2);
  EXPECT_EQ(options.max_replicas, 6);
  EXPECT_EQ(options.port, 9000);
  EXPECT_EQ(options.key, "sesame");
  EXPECT_TRUE(options.names_threads);
  EXPECT_THAT(options.server_flags, ElementsAre("model.gguf", "--max-num-seqs", "8", "--threads=2"));
  EXPECT_THAT(options.router_flags,
              ElementsAre("--slo-ttft", "1", "--api-key", "sesame", "--slow-start", "5"));
}

TEST(UpOptions, an_operators_key_opens_what_a_clients_does_not) {
  EXPECT_EQ(parse({"m", "--admin-api-key=a", "--api-key=b"}).key, "a");
  EXPECT_EQ(parse({"m", "--api-key=b", "--admin-api-key=a"}).key, "a");
}

TEST(UpOptions, bounds) {
  const UpOptions fixed = parse({"--replicas=3", "m"});
  EXPECT_EQ(fixed.min_replicas, 3);
  EXPECT_EQ(fixed.max_replicas, 3);
  const UpOptions sleeps = parse({"--replicas=0..2", "m"});
  EXPECT_EQ(hpa_spec(sleeps).min_replicas, 0);
  EXPECT_EQ(hpa_spec(sleeps).max_replicas, 2);
  for (const char* wrong : {"", "0", "0..0", "4..2", "-1..2", "1..100", "1...3", "a..b", "1..", "2,3"}) {
    EXPECT_THAT(complaint({"--replicas", wrong, "m"}), HasSubstr("must be MIN..MAX")) << wrong;
  }
}

TEST(UpOptions, says_what_is_missing) {
  EXPECT_THAT(complaint({"--replicas", "1..2"}), HasSubstr("MODEL is required"));
  EXPECT_THAT(complaint({"m", "--port"}), HasSubstr("--port needs a value"));
  EXPECT_THAT(complaint({"m", "--port", "70000"}), HasSubstr("from 0 to 65535"));
  EXPECT_THAT(complaint({"m", "--scale-down-window", "nan"}), HasSubstr("must be a number"));
  EXPECT_THAT(complaint({"m", "--ssl-cert-reqs=2"}), HasSubstr("of no use"));
  EXPECT_EQ(parse_up_options({"-h"}).exit_code, 0);
}

}  // namespace
}  // namespace sluice::up
