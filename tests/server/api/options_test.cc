#include "server/options.h"

#include <gtest/gtest.h>

#include "tests/support/temp_folder.h"

namespace sluice {
namespace {

ParsedOptions parse(std::vector<const char*> arguments, const Environment& environment = {}) {
  arguments.insert(arguments.begin(), "sluice-serve");
  return parse_serve_options(static_cast<int>(arguments.size()), arguments.data(), environment);
}

TEST(ServeOptions, have_safe_defaults) {
  const auto parsed = parse({"model.gguf"});
  ASSERT_TRUE(parsed.options.has_value()) << parsed.text;
  EXPECT_EQ(parsed.options->model, "model.gguf");
  EXPECT_EQ(parsed.options->listen.host, "127.0.0.1");
  EXPECT_EQ(parsed.options->listen.port, 8000);
  EXPECT_TRUE(parsed.options->engine.enable_prefix_caching);
  EXPECT_TRUE(parsed.options->api_keys.empty());
  EXPECT_EQ(parsed.options->shutdown_timeout_s, 30);
}

TEST(ServeOptions, know_tensor_parallel_size_by_both_of_its_names) {
  EXPECT_EQ(parse({"m.gguf"}).options->backend.ranks, 1);
  EXPECT_EQ(parse({"m.gguf", "-tp", "4"}).options->backend.ranks, 4);
  EXPECT_EQ(parse({"m.gguf", "--tensor-parallel-size=2"}).options->backend.ranks, 2);
  EXPECT_FALSE(parse({"m.gguf", "-tp", "0"}).options.has_value());
}

TEST(ServeOptions, take_tls_files_and_refuse_half_of_them) {
  const auto parsed = parse({"m.gguf", "--ssl-certfile", "c.pem", "--ssl-keyfile", "k.pem", "--ssl-ca-certs",
                             "ca.pem", "--ssl-cert-reqs", "2"});
  ASSERT_TRUE(parsed.options.has_value()) << parsed.text;
  EXPECT_EQ(parsed.options->tls.certfile, "c.pem");
  EXPECT_EQ(parsed.options->tls.keyfile, "k.pem");
  EXPECT_EQ(parsed.options->tls.ca_certs, "ca.pem");
  EXPECT_EQ(parsed.options->tls.cert_reqs, 2);
  const auto half = parse({"m.gguf", "--ssl-keyfile", "k.pem"});
  EXPECT_FALSE(half.options.has_value());
  EXPECT_NE(half.text.find("--ssl-certfile"), std::string::npos);
  EXPECT_FALSE(parse({"m.gguf", "--ssl-certfile", "c.pem", "--ssl-cert-reqs", "3"}).options.has_value());
}

TEST(ServeOptions, take_every_limit) {
  using std::chrono::milliseconds;
  const auto parsed = parse({"m.gguf",
                             "--max-body-bytes=1MiB",
                             "--max-buffered-body-bytes=8M",
                             "--max-request-line-bytes=1000",
                             "--max-header-bytes=16KiB",
                             "--max-header-count=50",
                             "--max-connections=9",
                             "--max-pipelined-bytes=8192",
                             "--max-unsent-bytes=64K",
                             "--idle-timeout=5",
                             "--head-timeout=0.25",
                             "--body-timeout=6",
                             "--write-timeout=7.5",
                             "--max-json-depth=10",
                             "--max-messages=11",
                             "--max-stop-strings=12",
                             "--max-n=13",
                             "--max-logprobs=14",
                             "--max-prompts=15",
                             "--max-choices=16"});
  ASSERT_TRUE(parsed.options.has_value()) << parsed.text;
  const ListenOptions& listen = parsed.options->listen;
  EXPECT_EQ(listen.limits.max_body_bytes, size_t{1} << 20);
  EXPECT_EQ(listen.max_buffered_body_bytes, size_t{8} << 20);
  EXPECT_EQ(listen.limits.max_request_line_bytes, 1000U);
  EXPECT_EQ(listen.limits.max_header_bytes, 16384U);
  EXPECT_EQ(listen.limits.max_header_count, 50U);
  EXPECT_EQ(listen.max_connections, 9);
  EXPECT_EQ(listen.max_pipelined_bytes, 8192U);
  EXPECT_EQ(listen.max_unsent_bytes, 65536U);
  EXPECT_EQ(listen.idle_timeout, milliseconds(5000));
  EXPECT_EQ(listen.head_timeout, milliseconds(250));
  EXPECT_EQ(listen.body_timeout, milliseconds(6000));
  EXPECT_EQ(listen.write_timeout, milliseconds(7500));
  const WireLimits& wire = parsed.options->limits;
  EXPECT_EQ(wire.max_json_depth, 10);
  EXPECT_EQ(wire.max_messages, 11);
  EXPECT_EQ(wire.max_stop_strings, 12);
  EXPECT_EQ(wire.max_n, 13);
  EXPECT_EQ(wire.max_logprobs, 14);
  EXPECT_EQ(wire.max_prompts, 15);
  EXPECT_EQ(wire.max_choices, 16);
}

TEST(ServeOptions, keep_limits_that_hold_others_above_them) {
  const auto parsed = parse({"m.gguf", "--max-body-bytes=1G", "--h11-max-incomplete-event-size", "4096",
                             "--h11-max-header-count", "256"});
  ASSERT_TRUE(parsed.options.has_value()) << parsed.text;
  EXPECT_EQ(parsed.options->listen.max_buffered_body_bytes, size_t{1} << 30);
  EXPECT_EQ(parsed.options->listen.limits.max_request_line_bytes, 4096U);
  EXPECT_EQ(parsed.options->listen.limits.max_header_count, 256U);
}

TEST(ServeOptions, take_vllms_flags) {
  const auto parsed = parse({"org/name",
                             "--host",
                             "0.0.0.0",
                             "--port=9000",
                             "--max-model-len",
                             "4K",
                             "--max-num-seqs",
                             "8",
                             "--kv-cache-dtype",
                             "int8",
                             "--kv-cache-memory-bytes",
                             "2G",
                             "--no-enable-prefix-caching",
                             "--served-model-name",
                             "a",
                             "b",
                             "--api-key",
                             "k",
                             "--scheduling-policy",
                             "priority",
                             "--revision",
                             "v1",
                             "-q",
                             "fp8",
                             "--seed",
                             "7"});
  ASSERT_TRUE(parsed.options.has_value()) << parsed.text;
  const ServeOptions& o = *parsed.options;
  EXPECT_EQ(o.engine.max_model_len, 4096);
  EXPECT_EQ(o.engine.max_num_seqs, 8);
  EXPECT_EQ(o.engine.kv_cache_dtype, DType::kI8);
  EXPECT_EQ(o.engine.kv_cache_memory_bytes, size_t{2} << 30);
  EXPECT_FALSE(o.engine.enable_prefix_caching);
  EXPECT_EQ(o.served_model_names, (std::vector<std::string>{"a", "b"}));
  EXPECT_EQ(o.model, "org/name@v1");
  EXPECT_EQ(o.engine.seed, 7U);
  EXPECT_EQ(o.quantization, "fp8");
}

TEST(ServeOptions, tell_what_is_wrong_with_a_flag) {
  for (const std::vector<const char*>& flags :
       std::vector<std::vector<const char*>>{{"--port", "banana"},
                                             {"--port", "70000"},
                                             {"--no-such-flag"},
                                             {"--max-num-seqs", "0"},
                                             {"--block-size", "7"},
                                             {"--max-model-len", "-5"},
                                             {"--max-model-len", "1.5"},
                                             {"--kv-cache-dtype", "int3"},
                                             {"--quantization", "int3"},
                                             {"--kv-cache-memory-bytes", "lots"},
                                             {"--generation-config", "mine"},
                                             {"--scheduling-policy", "lifo"},
                                             {"--log-level", "loud"},
                                             {"--shutdown-timeout", "-1"},
                                             {"--max-body-bytes", "0"},
                                             {"--max-header-bytes", "10"},
                                             {"--max-pipelined-bytes", "some"},
                                             {"--idle-timeout", "0"},
                                             {"--head-timeout", "soon"},
                                             {"--max-json-depth", "1000"},
                                             {"--max-n", "0"},
                                             {"--max-stop-strings", "-1"},
                                             {"--api-key", ""}}) {
    std::vector<const char*> arguments = {"m"};
    arguments.insert(arguments.end(), flags.begin(), flags.end());
    const auto parsed = parse(arguments);
    EXPECT_FALSE(parsed.options.has_value()) << flags[0];
    EXPECT_NE(parsed.exit_code, 0);
    EXPECT_NE(parsed.text.find(std::string(flags[0]).substr(2)), std::string::npos) << parsed.text;
  }
  EXPECT_NE(parse({}).exit_code, 0);
}

TEST(ServeOptions, print_help_and_version) {
  const auto help = parse({"--help"});
  EXPECT_FALSE(help.options.has_value());
  EXPECT_EQ(help.exit_code, 0);
  for (const char* flag :
       {"--port", "--max-model-len", "--max-num-seqs", "--kv-cache-memory-bytes", "HF_TOKEN"}) {
    EXPECT_NE(help.text.find(flag), std::string::npos) << flag;
  }
  EXPECT_EQ(parse({"--version"}).exit_code, 0);
}

TEST(ServeOptions, find_the_hubs_cache_in_the_environment) {
  Environment environment;
  environment.home = "/home/me";
  EXPECT_EQ(parse({"m"}, environment).options->repository.cache_directory, "/home/me/.cache/huggingface/hub");
  environment.hf_home = "/data/hf";
  EXPECT_EQ(parse({"m"}, environment).options->repository.cache_directory, "/data/hf/hub");
  environment.hf_hub_cache = "/cache";
  EXPECT_EQ(parse({"m"}, environment).options->repository.cache_directory, "/cache");
  EXPECT_EQ(parse({"m", "--download-dir", "/dl"}, environment).options->repository.cache_directory, "/dl");
  environment.hf_hub_offline = "1";
  EXPECT_TRUE(parse({"m"}, environment).options->repository.offline);
}

TEST(ServeOptions, keep_secrets_out_of_the_printed_line) {
  Environment environment;
  environment.hf_token = "hf_secret";
  const auto parsed = parse({"m", "--api-key", "sesame"}, environment);
  const std::string line = describe(*parsed.options);
  EXPECT_EQ(line.find("sesame"), std::string::npos);
  EXPECT_EQ(line.find("hf_secret"), std::string::npos);
}

TEST(ParseBytes, knows_units) {
  EXPECT_EQ(*parse_bytes("--x", "10"), 10U);
  EXPECT_EQ(*parse_bytes("--x", "1.5K"), 1536U);
  EXPECT_EQ(*parse_bytes("--x", "512MiB"), size_t{512} << 20);
  EXPECT_EQ(*parse_bytes("--x", "2GB"), 2000000000U);
  for (const char* text : {"", "x", "-1", "0", "1X", "1Kx", "1e30", "nan"})
    EXPECT_FALSE(parse_bytes("--x", text).ok()) << text;
}

std::string written(const TempFolder& folder, const std::string& name, const std::string& text) {
  write_file(folder / name, text);
  return folder / name;
}

TEST(ServeOptions, take_a_cost_model_and_let_flags_go_before_it) {
  const auto parsed = parse({"--simulate", "smg", "--max-num-seqs", "8"});
  ASSERT_TRUE(parsed.options.has_value()) << parsed.text;
  ASSERT_TRUE(parsed.options->simulation.has_value());
  EXPECT_EQ(parsed.options->engine.max_num_seqs, 8);
  EXPECT_EQ(parsed.options->engine.max_num_batched_tokens, 2048);
  EXPECT_EQ(parsed.options->engine.max_model_len, 32768);
  EXPECT_EQ(parsed.options->simulation->kv_tokens, 524288);
  EXPECT_DOUBLE_EQ(parsed.options->simulation->cost.prefill_token_seconds, 1.0 / 8000);
  EXPECT_EQ(parsed.options->io_threads, 1);
}

TEST(ServeOptions, need_a_model_or_a_cost_model) {
  const auto parsed = parse({});
  EXPECT_FALSE(parsed.options.has_value());
  EXPECT_EQ(parsed.exit_code, 2);
  EXPECT_NE(parsed.text.find("--simulate"), std::string::npos);
}

TEST(CostModel, knows_each_of_its_names) {
  for (const std::string_view name : built_in_cost_models()) {
    const auto model = read_cost_model(std::string(name));
    ASSERT_TRUE(model.ok()) << name;
    EXPECT_EQ(model->name, name);
    EXPECT_EQ(model->kv_tokens % model->block_size, 0);
  }
}

TEST(CostModel, reads_a_file_over_its_base) {
  const TempFolder folder;
  const auto model = read_cost_model(
      written(folder, "slow.json",
              R"({"base": "smg", "prefill_tokens_per_s": 4000, "step_ms": 0.5, "load_s": 2.5})"));
  ASSERT_TRUE(model.ok()) << model.error().message;
  EXPECT_EQ(model->name, "slow");
  EXPECT_DOUBLE_EQ(model->cost.prefill_token_seconds, 1.0 / 4000);
  EXPECT_DOUBLE_EQ(model->cost.step_seconds, 0.0005);
  EXPECT_DOUBLE_EQ(model->cost.decode_sequence_seconds, 0.35e-3);
  EXPECT_DOUBLE_EQ(model->load_seconds, 2.5);
}

TEST(CostModel, names_what_is_wrong_with_a_file) {
  const TempFolder folder;
  const std::pair<const char*, const char*> cases[] = {
      {R"({"prefil": 1})", "'prefil'"},
      {R"({"step_ms": -1})", "step_ms must be a number from 0 to 60000"},
      {R"({"step_ms": "1"})", "step_ms must be"},
      {R"({"max_num_seqs": 1.5})", "max_num_seqs must be a whole number"},
      {R"({"kv_tokens": 1e300})", "kv_tokens must be"},
      {R"({"base": "abacus"})", "base must be one of instant, smg"},
      {R"({"step_ms": 1, "step_ms": 2})", "twice"},
      {"[1]", "one JSON object"},
      {"{", "one JSON object"},
      {"", "neither"},
  };
  for (const auto& [text, words] : cases) {
    const auto model = read_cost_model(written(folder, "m.json", text));
    ASSERT_FALSE(model.ok()) << text;
    EXPECT_NE(model.error().message.find(words), std::string::npos) << model.error().message;
  }
  EXPECT_FALSE(read_cost_model(written(folder, "big.json", std::string(70000, ' '))).ok());
  EXPECT_FALSE(read_cost_model(folder.path().string()).ok());
  EXPECT_FALSE(read_cost_model("no-such-model").ok());
}

}  // namespace
}  // namespace sluice
