#include "server/net/key_ring.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>

#include "tests/support/temp_folder.h"

namespace sluice {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

HeaderList bearing(const std::string& key) {
  HeaderList headers;
  if (!key.empty()) headers.add("authorization", "Bearer " + key);
  return headers;
}

TEST(KeyRing, lets_everybody_in_when_there_is_no_key) {
  const KeyRing ring({});
  for (const Access access : {Access::kEverybody, Access::kUsers, Access::kOperators})
    EXPECT_TRUE(ring.admits(bearing(""), access));
}

TEST(KeyRing, users_are_operators_until_operators_have_a_key) {
  const KeyRing shared({.users = {"u"}});
  EXPECT_TRUE(shared.admits(bearing("u"), Access::kOperators));
  EXPECT_FALSE(shared.admits(bearing(""), Access::kOperators));
  const KeyRing apart({.users = {"u"}, .operators = {"o"}});
  EXPECT_TRUE(apart.admits(bearing("u"), Access::kUsers));
  EXPECT_FALSE(apart.admits(bearing("u"), Access::kOperators));
  EXPECT_TRUE(apart.admits(bearing("o"), Access::kOperators));
  EXPECT_TRUE(apart.admits(bearing("o"), Access::kUsers));
  EXPECT_TRUE(apart.admits(bearing(""), Access::kEverybody));
}

TEST(KeyRing, an_operators_key_alone_leaves_the_api_open) {
  const KeyRing ring({.operators = {"o"}});
  EXPECT_TRUE(ring.admits(bearing(""), Access::kUsers));
  EXPECT_FALSE(ring.admits(bearing(""), Access::kOperators));
}

TEST(KeyRing, takes_the_key_where_anthropics_clients_put_it) {
  HeaderList headers;
  headers.add("x-api-key", "u");
  EXPECT_TRUE(KeyRing({.users = {"u"}}).admits(headers, Access::kUsers));
  EXPECT_FALSE(KeyRing({.users = {"v"}}).admits(headers, Access::kUsers));
}

TEST(KeyRing, exchanges_the_files_keys) {
  KeyRing ring({.users = {"u"}, .from_file = {"old"}});
  EXPECT_TRUE(ring.admits(bearing("old"), Access::kUsers));
  ring.replace_file_keys({"new"});
  EXPECT_FALSE(ring.admits(bearing("old"), Access::kUsers));
  EXPECT_TRUE(ring.admits(bearing("new"), Access::kUsers));
  EXPECT_TRUE(ring.admits(bearing("u"), Access::kUsers));
}

TEST(KeyRing, compares_whole_keys) {
  const std::vector<std::string> keys{"sesame", "other"};
  for (const char* right : {"sesame", "other"}) EXPECT_TRUE(is_one_of(right, keys));
  for (const char* wrong : {"", "sesam", "sesame1", "sesamesesame", "Sesame"})
    EXPECT_FALSE(is_one_of(wrong, keys)) << wrong;
}

TEST(KeyFile, has_one_key_a_line) {
  const TempFolder folder;
  const std::string path = folder / "keys";
  std::ofstream(path) << "# clients\n\nfirst\r\nsecond  \n";
  EXPECT_THAT(*read_key_file(path), ElementsAre("first", "second"));
}

TEST(KeyFile, without_keys_is_an_error) {
  const TempFolder folder;
  const std::string path = folder / "keys";
  EXPECT_THAT(read_key_file(path).error().message, HasSubstr("cannot be read"));
  std::ofstream(path) << "# nobody\n";
  EXPECT_THAT(read_key_file(path).error().message, HasSubstr("no key"));
  std::ofstream(path) << std::string(2000, 'k');
  EXPECT_THAT(read_key_file(path).error().message, HasSubstr("1024"));
}

}  // namespace
}  // namespace sluice
