#include "models/repository.h"

#include <gtest/gtest.h>
#include <sys/file.h>

#include <atomic>
#include <filesystem>
#include <thread>

#include "models/file_lock.h"
#include "models/hub_cache.h"
#include "models/model_name.h"
#include "tests/support/fake_hub.h"
#include "tests/support/temp_folder.h"

namespace sluice {
namespace {

namespace fs = std::filesystem;

std::string noise(size_t size, unsigned seed = 1) {
  std::string bytes(size, '\0');
  for (auto& byte : bytes) byte = static_cast<char>((seed = seed * 1664525 + 1013904223) >> 24);
  return bytes;
}

struct World {
  World() {
    options.endpoint = FakeHub::kEndpoint;
    options.cache_directory = folder / "hub";
    options.download_directory = folder / "models";
    options.retry_backoff_ms = 0;
    hub.files = {{"config.json", {"{\"a\":1}"}},
                 {"tokenizer.json", {noise(3000, 2)}},
                 {"tokenizer_config.json", {"{}"}},
                 {"generation_config.json", {""}},
                 {"README.md", {"hello"}},
                 {"pytorch_model.bin", {noise(100), true}},
                 {"model.safetensors", {noise(50000), true}}};
  }
  Result<std::string> resolve(const std::string& model = "org/name") {
    return resolve_model(model, options, hub, [this](const DownloadProgress& p) { progress.push_back(p); });
  }
  std::string error(const std::string& model = "org/name") {
    const auto path = resolve(model);
    return path.ok() ? "" : path.error().message;
  }
  std::string weights() { return hub.files.at("model.safetensors").bytes; }

  TempFolder folder;
  FakeHub hub;
  RepositoryOptions options;
  std::vector<DownloadProgress> progress;
};

// A fault for the first `times` requests of `method` whose URL holds `part`.
auto first(int times, const std::string& method, const std::string& part, FakeHub::Fault fault) {
  auto left = std::make_shared<std::atomic<int>>(times);
  return [=](const FetchRequest& request) -> std::optional<FakeHub::Fault> {
    if (request.method != method || request.url.find(part) == std::string::npos || left->fetch_sub(1) <= 0)
      return std::nullopt;
    return fault;
  };
}

TEST(Repository, brings_only_what_serving_needs_into_the_layout_that_other_tools_share) {
  World w;
  const auto path = w.resolve();
  ASSERT_TRUE(path.ok()) << path.error().message;
  const fs::path folder = w.folder.path() / "hub" / "models--org--name";
  EXPECT_EQ(*path, (folder / "snapshots" / FakeHub::kCommit).string());
  EXPECT_EQ(read_file((folder / "refs" / "main").string()), FakeHub::kCommit);
  EXPECT_EQ(read_file(*path + "/model.safetensors"), w.weights());
  EXPECT_EQ(read_file(*path + "/config.json"), "{\"a\":1}");
  EXPECT_TRUE(fs::exists(*path + "/generation_config.json")) << "empty, but there";
  EXPECT_FALSE(fs::exists(*path + "/README.md"));
  EXPECT_FALSE(fs::exists(*path + "/pytorch_model.bin"));
  EXPECT_EQ(fs::read_symlink(*path + "/model.safetensors"),
            "../../blobs/" + FakeHub::etag_of(w.hub.files.at("model.safetensors")));
  for (const auto& entry : fs::directory_iterator(folder / "blobs"))
    EXPECT_NE(entry.path().extension(), ".incomplete");
  ASSERT_FALSE(w.progress.empty());
  EXPECT_EQ(w.progress.back().done_bytes, w.progress.back().total_bytes);
  EXPECT_GE(w.progress.back().total_bytes, 53000);
}

TEST(Repository, a_second_start_asks_only_whether_the_revision_moved) {
  World w;
  ASSERT_TRUE(w.resolve().ok());
  const size_t before = w.hub.seen().size();
  ASSERT_TRUE(w.resolve().ok());
  EXPECT_EQ(w.hub.seen().size(), before + 1);
  ASSERT_TRUE(w.resolve("org/name@" + std::string(FakeHub::kCommit)).ok());
  EXPECT_EQ(w.hub.seen().size(), before + 1) << "a commit cannot move";
}

TEST(Repository, a_revision_that_moved_brings_the_new_files_and_shares_the_old) {
  World w;
  ASSERT_TRUE(w.resolve().ok());
  const std::string next(40, 'e');
  w.hub.revisions["main"] = next;
  w.hub.files["config.json"].bytes = "{\"a\":2}";
  const auto path = w.resolve();
  ASSERT_TRUE(path.ok()) << path.error().message;
  EXPECT_TRUE(path->ends_with(next));
  EXPECT_EQ(read_file(*path + "/config.json"), "{\"a\":2}");
  EXPECT_EQ(w.hub.count("GET", "content.test"), 1U) << "the weights did not change";
}

TEST(Repository, resumes_where_a_broken_connection_stopped) {
  World w;
  w.hub.fault = first(2, "GET", "content.test", {.cut_after = 20000});
  ASSERT_TRUE(w.resolve().ok());
  std::vector<std::string> ranges;
  for (const auto& s : w.hub.seen()) {
    if (s.url.find("content.test") != std::string::npos) ranges.push_back(s.range);
  }
  EXPECT_EQ(ranges, (std::vector<std::string>{"", "bytes=20000-", "bytes=40000-"}));
}

TEST(Repository, resumes_after_the_process_ended) {
  World w;
  w.options.attempts = 1;
  w.hub.fault = first(1, "GET", "content.test", {.cut_after = 30000});
  EXPECT_NE(w.error().find("start again to go on"), std::string::npos);
  EXPECT_EQ(fs::file_size(w.folder.path() / "hub/models--org--name/blobs" /
                          (FakeHub::etag_of(w.hub.files.at("model.safetensors")) + ".incomplete")),
            30000U);
  const auto path = w.resolve();
  ASSERT_TRUE(path.ok()) << path.error().message;
  EXPECT_EQ(read_file(*path + "/model.safetensors"), w.weights());
  std::string last_range;  // of the weights: the small files arrive beside them in any order
  for (const auto& s : w.hub.seen()) {
    if (s.url.find("content.test") != std::string::npos) last_range = s.range;
  }
  EXPECT_EQ(last_range, "bytes=30000-");
}

TEST(Repository, begins_again_when_the_server_ignores_the_range) {
  World w;
  int answers = 0;
  w.hub.fault = [&](const FetchRequest& request) -> std::optional<FakeHub::Fault> {
    if (request.url.find("content.test") == std::string::npos) return std::nullopt;
    return ++answers == 1 ? FakeHub::Fault{.cut_after = 20000} : FakeHub::Fault{.ignore_range = true};
  };
  const auto path = w.resolve();
  ASSERT_TRUE(path.ok()) << path.error().message;
  EXPECT_EQ(read_file(*path + "/model.safetensors"), w.weights());
}

TEST(Repository, wrong_bytes_are_never_published_and_are_fetched_anew) {
  World w;
  std::string wrong = w.weights();
  wrong[12345] ^= 1;
  w.hub.fault = first(1, "GET", "content.test", {.bytes = wrong});
  const auto path = w.resolve();
  ASSERT_TRUE(path.ok()) << path.error().message;
  EXPECT_EQ(read_file(*path + "/model.safetensors"), w.weights());

  World always;
  always.hub.fault = first(1000, "GET", "content.test", {.bytes = wrong});
  const auto refused = always.resolve();
  ASSERT_FALSE(refused.ok());
  EXPECT_EQ(refused.error().code, ErrorCode::kCorrupt);
  EXPECT_NE(refused.error().message.find("its hash is"), std::string::npos) << refused.error().message;
  EXPECT_FALSE(fs::exists(always.folder.path() / "hub/models--org--name/snapshots" / FakeHub::kCommit /
                          "model.safetensors"));
  EXPECT_FALSE(fs::exists(always.folder.path() / "hub/models--org--name/refs/main"));
}

TEST(Repository, small_files_are_verified_too) {
  World w;
  w.hub.fault = first(1000, "GET", "/config.json", {.bytes = "{\"a\":2}"});
  EXPECT_NE(w.error().find("its hash is"), std::string::npos);
}

TEST(Repository, a_body_longer_than_announced_is_refused) {
  World w;
  w.hub.fault = first(1000, "GET", "content.test", {.bytes = w.weights() + "more"});
  EXPECT_NE(w.error().find("instead of 50000"), std::string::npos);
}

TEST(Repository, tries_again_when_the_server_is_busy_or_broken_or_gone_for_a_moment) {
  for (const FakeHub::Fault& fault :
       {FakeHub::Fault{.status = 429, .headers = {{"retry-after", "0"}}}, FakeHub::Fault{.status = 500},
        FakeHub::Fault{.status = 503}, FakeHub::Fault{.network = true}}) {
    for (const auto& [method, part] :
         {std::pair{"GET", "/api/models"}, std::pair{"HEAD", "model.safetensors"},
          std::pair{"GET", "content.test"}}) {
      World w;
      w.hub.fault = first(3, method, part, fault);
      EXPECT_EQ(w.error(), "") << method << " " << part << " " << fault.status;
      World worse;
      worse.hub.fault = first(4, method, part, fault);
      EXPECT_NE(worse.error(), "") << method << " " << part << " " << fault.status;
    }
  }
}

TEST(Repository, an_attempt_that_came_further_does_not_count) {
  World w;
  w.hub.files["model.safetensors"].bytes = noise(12 << 20);
  w.hub.fault = first(9, "GET", "content.test", {.cut_after = 5 << 18});
  const auto path = w.resolve();
  ASSERT_TRUE(path.ok()) << path.error().message;
  EXPECT_EQ(read_file(*path + "/model.safetensors"), w.weights());
}

TEST(Repository, explains_refusals_in_words_that_help) {
  const auto words = [](int status, std::map<std::string, std::string> headers, const std::string& token,
                        ErrorCode code) {
    World w;
    w.options.token = token;
    w.hub.fault = first(1000, "GET", "/api/models", {.status = status, .headers = std::move(headers)});
    const auto path = w.resolve();
    EXPECT_FALSE(path.ok());
    if (path.ok()) return std::string();
    EXPECT_EQ(path.error().code, code) << path.error().message;
    EXPECT_EQ(path.error().message.find("sesame"), std::string::npos) << "the token is nobody's to read";
    return path.error().message;
  };
  EXPECT_NE(
      words(401, {{"x-error-code", "GatedRepo"}}, "", ErrorCode::kUnauthorized).find("accept its terms"),
      std::string::npos);
  EXPECT_NE(
      words(401, {{"x-error-code", "RepoNotFound"}}, "", ErrorCode::kUnauthorized).find("check the name"),
      std::string::npos);
  EXPECT_NE(words(401, {}, "sesame", ErrorCode::kUnauthorized).find("HF_TOKEN is not valid"),
            std::string::npos);
  EXPECT_NE(words(403, {}, "sesame", ErrorCode::kUnauthorized).find("refused"), std::string::npos);
  EXPECT_NE(
      words(404, {{"x-error-code", "RevisionNotFound"}}, "", ErrorCode::kNotFound).find("revision 'main'"),
      std::string::npos);
  EXPECT_NE(words(404, {}, "", ErrorCode::kNotFound).find("check the name"), std::string::npos);
  EXPECT_NE(words(418, {}, "", ErrorCode::kIo).find("418"), std::string::npos);
}

TEST(Repository, the_token_goes_to_the_hub_alone) {
  World w;
  w.options.token = "sesame";
  ASSERT_TRUE(w.resolve().ok());
  for (const auto& s : w.hub.seen()) {
    EXPECT_EQ(s.authorization, s.url.starts_with(FakeHub::kEndpoint) ? "Bearer sesame" : "") << s.url;
  }
  w.hub.plain["https://elsewhere.test/m.gguf"] = "GGUF!";
  ASSERT_TRUE(w.resolve("https://elsewhere.test/m.gguf").ok());
  EXPECT_EQ(w.hub.seen().back().authorization, "");
  w.options.token = "se\r\nsame";
  EXPECT_NE(w.error().find("HF_TOKEN"), std::string::npos);
}

TEST(Repository, names_from_the_server_cannot_leave_the_cache) {
  World w;
  w.hub.extra_names = {"../../../evil.json", "/etc/passwd", "a/../../b", "tokenizer\n.json",
                       "tokenizer/../../x",  ".hidden",     ""};
  ASSERT_EQ(w.error(), "");
  EXPECT_FALSE(fs::exists(w.folder.path() / "evil.json"));
  World etags;
  etags.hub.fault = [](const FetchRequest& request) -> std::optional<FakeHub::Fault> {
    if (request.method != "HEAD") return std::nullopt;
    return FakeHub::Fault{.status = 200, .headers = {{"etag", "\"../../../evil\""}, {"content-length", "4"}}};
  };
  EXPECT_NE(etags.error().find("no usable ETag"), std::string::npos);
  World commits;
  commits.hub.revisions["main"] = "../../evil";
  EXPECT_NE(commits.error().find("names no commit"), std::string::npos);
}

TEST(Repository, shards_of_an_index_are_brought) {
  World w;
  w.hub.files.erase("model.safetensors");
  w.hub.files["model-1.safetensors"] = {noise(5000, 7), true};
  w.hub.files["model-2.safetensors"] = {noise(6000, 8), true};
  w.hub.files["other.safetensors"] = {noise(6000, 9), true};
  w.hub.files["model.safetensors.index.json"] = {
      R"({"weight_map":{"a":"model-1.safetensors","b":"model-2.safetensors"}})"};
  const auto path = w.resolve();
  ASSERT_TRUE(path.ok()) << path.error().message;
  EXPECT_EQ(read_file(*path + "/model-2.safetensors"), w.hub.files["model-2.safetensors"].bytes);
  EXPECT_FALSE(fs::exists(*path + "/other.safetensors"));
  fs::remove(*path + "/model-2.safetensors");
  w.options.offline = true;
  EXPECT_NE(w.error().find("model-2.safetensors"), std::string::npos);
  w.options.offline = false;
  w.hub.files["model.safetensors.index.json"] = {R"({"weight_map":{"a":"../model-1.safetensors"}})"};
  w.hub.revisions["main"] = std::string(40, 'd');
  EXPECT_NE(w.error().find("not the name of a .safetensors file"), std::string::npos);
}

TEST(Repository, a_repository_of_one_gguf_is_that_gguf_and_of_several_asks_which) {
  World w;
  w.hub.files = {{"config.json", {"{}"}}, {"m.Q4_1.gguf", {"GGUF 1", true}}};
  const auto one = w.resolve();
  ASSERT_TRUE(one.ok()) << one.error().message;
  EXPECT_TRUE(one->ends_with("/m.Q4_1.gguf"));
  EXPECT_EQ(read_file(*one), "GGUF 1");
  w.options.offline = true;
  EXPECT_EQ(*w.resolve(), *one);
  w.options.offline = false;

  World several;
  several.hub.files = {{"m.Q4_1.gguf", {"GGUF 1", true}}, {"sub/m.Q8_0.gguf", {"GGUF 2", true}}};
  const auto which = several.resolve();
  ASSERT_FALSE(which.ok());
  EXPECT_EQ(which.error().code, ErrorCode::kInvalidArgument);
  EXPECT_NE(which.error().message.find("m.Q4_1.gguf, sub/m.Q8_0.gguf"), std::string::npos)
      << which.error().message;
  const auto named = several.resolve("hf://org/name@main/sub/m.Q8_0.gguf");
  ASSERT_TRUE(named.ok()) << named.error().message;
  EXPECT_EQ(read_file(*named), "GGUF 2");
  EXPECT_EQ(fs::read_symlink(*named).string().substr(0, 15), "../../../blobs/");
  EXPECT_EQ(*several.resolve(std::string(FakeHub::kEndpoint) +
                             "/org/name/resolve/main/sub/m.Q8_0.gguf?download=true"),
            *named)
      << "a hub's URL is the hub's file";
  EXPECT_NE(several.error("hf://org/name/none.gguf").find("no file 'none.gguf'"), std::string::npos);

  World none;
  none.hub.files = {{"config.json", {"{}"}}, {"pytorch_model.bin", {"x", true}}};
  EXPECT_NE(none.error().find("neither"), std::string::npos);
}

TEST(Repository, serves_the_cached_copy_when_the_hub_is_away_but_says_what_is_missing_when_there_is_none) {
  World w;
  w.options.offline = true;
  EXPECT_NE(w.error().find("HF_HUB_OFFLINE"), std::string::npos);
  EXPECT_TRUE(w.hub.seen().empty());
  w.options.offline = false;
  const auto path = w.resolve();
  ASSERT_TRUE(path.ok());
  w.hub.fault = first(1000, "GET", "", {.network = true});
  const size_t before = w.hub.seen().size();
  ASSERT_TRUE(w.resolve().ok());
  EXPECT_EQ(w.hub.seen().size(), before + 1) << "one look is enough when there is a copy";
  w.options.offline = true;
  EXPECT_EQ(*w.resolve(), *path);
  fs::remove(*path + "/model.safetensors");
  EXPECT_NE(w.error().find("model.safetensors"), std::string::npos);
}

TEST(Repository, follows_a_renamed_repository_within_the_hub) {
  World w;
  w.hub.renamed = {{"org/old", "org/name"}};
  const auto path = w.resolve("org/old");
  ASSERT_TRUE(path.ok()) << path.error().message;
  EXPECT_EQ(read_file(*path + "/model.safetensors"), w.weights());
}

TEST(Repository, asks_no_other_host_for_what_only_the_hub_may_say) {
  World w;
  w.options.token = "sesame";
  w.hub.fault = [](const FetchRequest& request) -> std::optional<FakeHub::Fault> {
    if (request.method != "HEAD") return std::nullopt;
    return FakeHub::Fault{.status = 307, .headers = {{"location", "//evil.test/x"}}};
  };
  EXPECT_NE(w.error().find("no usable ETag"), std::string::npos);
  for (const auto& s : w.hub.seen()) EXPECT_EQ(s.url.find("evil"), std::string::npos);
}

TEST(Repository, plain_urls_are_kept_resumed_and_verified_as_gguf) {
  World w;
  const std::string url = "https://files.test/a/m.gguf?sig=secret";
  const std::string bytes = "GGUF" + noise(40000);
  w.hub.plain[url] = bytes;
  w.hub.plain_etags[url] = "\"v1\"";
  w.options.attempts = 1;
  w.hub.fault = first(1, "GET", "files.test", {.cut_after = 10000});
  const std::string broken = w.error(url);
  EXPECT_NE(broken, "");
  EXPECT_EQ(broken.find("secret"), std::string::npos);
  const auto path = w.resolve(url);
  ASSERT_TRUE(path.ok()) << path.error().message;
  EXPECT_EQ(w.hub.seen().back().range, "bytes=10000-");
  EXPECT_EQ(read_file(*path), bytes);
  EXPECT_TRUE(path->starts_with(w.options.download_directory));
  const size_t before = w.hub.seen().size();
  EXPECT_EQ(*w.resolve(url), *path);
  EXPECT_EQ(w.hub.seen().size(), before) << "once here it is not asked for again";
}

TEST(Repository, a_plain_url_whose_content_changed_begins_again) {
  World w;
  const std::string url = "https://files.test/m.gguf";
  w.hub.plain[url] = "GGUF" + noise(40000, 1);
  w.hub.plain_etags[url] = "\"v1\"";
  w.options.attempts = 1;
  w.hub.fault = first(1, "GET", "files.test", {.cut_after = 10000});
  EXPECT_NE(w.error(url), "");
  w.hub.plain[url] = "GGUF" + noise(30000, 2);
  w.hub.plain_etags[url] = "\"v2\"";
  const auto path = w.resolve(url);
  ASSERT_TRUE(path.ok()) << path.error().message;
  EXPECT_EQ(read_file(*path), w.hub.plain[url]);
}

TEST(Repository, a_plain_url_that_gives_a_web_page_is_not_kept) {
  World w;
  w.hub.plain["https://files.test/m.gguf"] = "<html>please log in</html>";
  EXPECT_NE(w.error("https://files.test/m.gguf").find("does not begin with 'GGUF'"), std::string::npos);
  EXPECT_EQ(w.resolve("https://files.test/none.gguf").error().code, ErrorCode::kUnauthorized);
}

TEST(Repository, two_starts_at_once_download_once) {
  World w;
  const auto other = [&] {
    RepositoryOptions options = w.options;
    return resolve_model("org/name", options, w.hub, nullptr);
  };
  std::vector<std::jthread> starts;
  std::atomic<int> good{0};
  for (int i = 0; i < 4; ++i) starts.emplace_back([&] { good += other().ok() ? 1 : 0; });
  starts.clear();
  EXPECT_EQ(good, 4);
  EXPECT_EQ(w.hub.count("GET", "content.test"), 1U);
}

TEST(FileLock, excludes_others_until_it_is_gone) {
  const TempFolder folder;
  {
    const auto held = FileLock::acquire(folder / "locks/a.lock", 0);
    ASSERT_TRUE(held.ok());
    EXPECT_EQ(FileLock::acquire(folder / "locks/a.lock", 0).error().code, ErrorCode::kUnavailable);
  }
  EXPECT_TRUE(FileLock::acquire(folder / "locks/a.lock", 0).ok());
}

TEST(ModelName, tells_paths_repositories_and_urls_apart) {
  const TempFolder folder;
  const std::string endpoint = "https://hub.test/";
  const auto hub = [&](const std::string& model) {
    const auto name = parse_model_name(model, endpoint);
    if (!name.ok() || name->kind != ModelName::Kind::kHub) return std::string("no");
    return name->hub.repository + " " + name->hub.revision + " " + name->hub.file;
  };
  EXPECT_EQ(hub("org/name"), "org/name main ");
  EXPECT_EQ(hub("org/na.me_1-x@v1.0"), "org/na.me_1-x v1.0 ");
  EXPECT_EQ(hub("org/name@refs/pr/3"), "org/name refs/pr/3 ");
  EXPECT_EQ(hub("hf://org/name"), "org/name main ");
  EXPECT_EQ(hub("hf://org/name/a.gguf"), "org/name main a.gguf");
  EXPECT_EQ(hub("hf://org/name@refs/pr/3/a.gguf"), "org/name refs/pr/3 a.gguf");
  EXPECT_EQ(hub("https://hub.test/org/name/blob/main/b/a.gguf"), "org/name main b/a.gguf");
  for (const char* wrong : {"org",
                            "org/",
                            "/name",
                            "../name",
                            "org/..",
                            "org/na--me",
                            "org/name@",
                            "org/name@../x",
                            "org/name@-x",
                            "hf://org",
                            "hf://org/name/../a.gguf",
                            "hf://org/name/config.json",
                            "org/name/extra",
                            "a b/c",
                            "",
                            "hf://org/name@main@x/a.gguf",
                            "http://x/a.bin",
                            "http://x/a b.gguf",
                            "./missing.gguf",
                            "missing.gguf"}) {
    EXPECT_EQ(hub(wrong), "no") << wrong;
  }
  EXPECT_EQ(parse_model_name("https://x.test/a.gguf", endpoint)->kind, ModelName::Kind::kUrl);
  EXPECT_EQ(parse_model_name(folder.path(), endpoint)->kind, ModelName::Kind::kPath);
  EXPECT_EQ(parse_model_name("missing.gguf", endpoint).error().code, ErrorCode::kNotFound);
  EXPECT_EQ(public_url("https://me:pw@host/a.gguf?sig=1#x"), "https://host/a.gguf");
  EXPECT_EQ(percent_encode("refs/pr/1 ü", false), "refs%2Fpr%2F1%20%C3%BC");
}

TEST(Checksum, names_bytes_as_git_and_sha256sum_do) {
  auto git = Checksum::git_blob(6);
  git.add("hel");
  git.add("lo\n");
  EXPECT_EQ(git.hex(), "ce013625030ba8dba906f756967f9e9ca394464a");  // echo hello | git hash-object --stdin
  auto sha = Checksum::sha256();
  sha.add("abc");
  EXPECT_EQ(sha.hex(),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");  // FIPS 180-4 example
}

}  // namespace
}  // namespace sluice
