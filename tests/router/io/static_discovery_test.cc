#include "router/io/static_discovery.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <map>

#include "tests/support/temp_folder.h"

namespace sluice::router {
namespace {

struct Seen final : DiscoverySink {
  void found(const FoundReplica& replica) override {
    now[replica.name] = replica;
    ++told;
  }
  void lost(std::string_view name) override { EXPECT_EQ(now.erase(std::string(name)), 1U); }
  std::map<std::string, FoundReplica> now;
  int told = 0;
};

TEST(ParseReplica, reads_a_url_and_what_is_known_of_it) {
  const auto plain = parse_replica("http://10.0.0.1:8000");
  ASSERT_TRUE(plain.ok());
  EXPECT_EQ(plain->name, "http://10.0.0.1:8000");
  EXPECT_EQ(plain->weight, 1);
  const auto full =
      parse_replica("http://[::1]:80/base, weight=2.5,max-running=64,model=a,model=b ,name=first");
  ASSERT_TRUE(full.ok()) << full.error().message;
  EXPECT_EQ(full->url, "http://[::1]:80/base");
  EXPECT_EQ(full->name, "first");
  EXPECT_EQ(full->weight, 2.5);
  EXPECT_EQ(full->max_running, 64);
  EXPECT_EQ(full->models, (std::vector<std::string>{"a", "b"}));
}

TEST(ParseReplica, names_what_is_wrong) {
  for (const char* text :
       {"", "host:80", "ftp://a", "http://a,weight=-1", "http://a,weight=x", "http://a,weight=nan",
        "http://a,color=red", "http://a,name=", "http://a,,", "http://a,max-running=0", "http://a\n"}) {
    const auto replica = parse_replica(text);
    EXPECT_FALSE(replica.ok()) << text;
    if (!replica.ok()) {
      EXPECT_GT(replica.error().message.size(), 10U);
    }
  }
}

TEST(ReplicaFile, follows_its_file) {
  TempFolder folder;
  const std::string path = folder.path() / "replicas";
  const auto write = [&](const char* text) { std::ofstream(path) << text; };
  write("# both\nhttp://a:1\n\nhttp://b:1,weight=2\r\n");
  Seen seen;
  const auto file = make_replica_file(path);
  ASSERT_TRUE(file->start(seen).ok());
  EXPECT_EQ(seen.now.size(), 2U);
  EXPECT_EQ(seen.now["http://b:1"].weight, 2);

  write("http://b:1,weight=3\nhttp://c:1\n");
  file->refresh();
  EXPECT_EQ(seen.now.size(), 2U);
  EXPECT_EQ(seen.now["http://b:1"].weight, 3);
  EXPECT_TRUE(seen.now.contains("http://c:1"));

  const int told = seen.told;
  file->refresh();
  EXPECT_EQ(seen.told, told) << "what did not change is not told again";
  for (const char* broken : {"http://d:1\nnonsense\n", "http://d:1\nhttp://d:1\n"}) {
    write(broken);
    file->refresh();
    EXPECT_EQ(seen.now.size(), 2U);
  }
  std::filesystem::remove(path);
  file->refresh();
  EXPECT_EQ(seen.now.size(), 2U) << "a file that is gone changes nothing";
  write("");
  file->refresh();
  EXPECT_TRUE(seen.now.empty());
}

TEST(ReplicaFile, must_be_there_at_the_start) {
  Seen seen;
  EXPECT_FALSE(make_replica_file("/nowhere/replicas")->start(seen).ok());
}

}  // namespace
}  // namespace sluice::router
