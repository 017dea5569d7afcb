// sluice bench kernels: every operation of this machine's device, alone.
#include <CLI/CLI.hpp>
#include <cstdio>
#include <fstream>

#include "bench/kernels_bench.h"

namespace sluice::bench {
namespace {

constexpr WeightFormat kFormats[] = {WeightFormat::kF32,  WeightFormat::kF16,  WeightFormat::kBF16,
                                     WeightFormat::kQ4_0, WeightFormat::kQ8_0, WeightFormat::kQ4_K,
                                     WeightFormat::kQ6_K, WeightFormat::kF8,   WeightFormat::kI4_32,
                                     WeightFormat::kI4_64};
constexpr DType kCaches[] = {DType::kBF16, DType::kF16, DType::kF8, DType::kF32, DType::kI8};

int run(int argc, char** argv) {
  CLI::App app(
      "Measures every operation of the device at the shapes of one layer of a model: its time, its bytes and "
      "operations a second, and their share of what this machine's memory and arithmetic allow, which is "
      "measured first.\nExample: sluice bench kernels config.json --weights Q4_K --tokens 1,256",
      "sluice bench kernels");
  KernelBenchOptions options;
  const auto some = CLI::Range(1, 1 << 16);
  std::vector<std::string> weights = {"BF16", "Q8_0", "Q4_K"}, caches = {"bf16"};
  std::vector<std::string> weight_names, cache_names;
  for (const WeightFormat format : kFormats) weight_names.emplace_back(facts_of(format).name);
  for (const DType type : kCaches) cache_names.emplace_back(name_of(type));
  std::string json;
  app.add_option("model", options.model, "Whose shapes: a GGUF file, a directory, or a config.json alone.")
      ->required();
  app.add_option("--weights", weights, "Formats of the matrices.")
      ->delimiter(',')
      ->check(CLI::IsMember(weight_names))
      ->capture_default_str();
  app.add_option("--kv-cache-dtype", caches, "Of the KV cache.")
      ->delimiter(',')
      ->check(CLI::IsMember(cache_names))
      ->capture_default_str();
  app.add_option("--tokens", options.tokens, "Of a step, one measurement each.")
      ->delimiter(',')
      ->check(some)
      ->capture_default_str();
  app.add_option("--context", options.context, "Tokens of each sequence that decodes.")
      ->check(some)
      ->capture_default_str();
  app.add_option("--filter", options.filter,
                 "Only operations whose name has this in it, as in 'matmul head'.");
  app.add_option("--min-time", options.min_seconds, "Seconds of a measurement; the median of five counts.")
      ->check(CLI::Range(0.001, 60.0))
      ->capture_default_str();
  app.add_option("--device", options.backend.device, "auto, cpu, cuda, cuda:N or reference.")
      ->capture_default_str();
  app.add_option("--threads", options.backend.threads, "Of the CPU; 0: one per physical core.")
      ->capture_default_str();
  app.add_flag("--deterministic", options.backend.deterministic, "As sluice serve has it.");
  app.add_option("--json", json, "File to write the figures to.");
  CLI11_PARSE(app, argc, argv);
  options.weights.clear();
  options.caches.clear();
  for (const WeightFormat format : kFormats)
    if (std::ranges::count(weights, facts_of(format).name) > 0) options.weights.push_back(format);
  for (const DType type : kCaches)
    if (std::ranges::count(caches, name_of(type)) > 0) options.caches.push_back(type);

  const auto report = bench_kernels(options, [](const std::string& line) {
    std::printf("%s\n", line.c_str());
    std::fflush(stdout);
  });
  if (!report.ok()) {
    std::fprintf(stderr, "sluice bench kernels: %s\n", report.error().message.c_str());
    return 1;
  }
  if (report->kernels.empty()) {
    std::fprintf(stderr, "sluice bench kernels: no operation has '%s' in its name.\n",
                 options.filter.c_str());
    return 1;
  }
  if (json.empty()) return 0;
  std::ofstream file(json);
  file << as_json(*report, options);
  if (file.flush()) return 0;
  std::fprintf(stderr, "sluice bench kernels: '%s' cannot be written.\n", json.c_str());
  return 1;
}

}  // namespace
}  // namespace sluice::bench

int main(int argc, char** argv) {
  return sluice::bench::run(argc, argv);
}
