// sluice-up: reads the environment and the flags, finds the programs that it runs, and ends as they did. The
// only file of it that knows the environment and the exit code.
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <random>
#include <string_view>

#include "deploy/up/up.h"

namespace sluice::up {
namespace {

namespace fs = std::filesystem;

const char* from_environment(const char* name) {
  const char* value = std::getenv(name);
  return value != nullptr && *value != '\0' ? value : nullptr;
}

// Beside this program, else on the PATH; empty: nowhere.
std::string find_program(const std::string& name) {
  std::error_code error;
  const fs::path self = fs::read_symlink("/proc/self/exe", error);
  const char* path = from_environment("PATH");
  std::string folders = error ? "" : self.parent_path().string();
  folders += std::string(":") + (path == nullptr ? "" : path);
  std::string_view left = folders;
  while (!left.empty()) {
    const size_t colon = std::min(left.find(':'), left.size());
    const fs::path program = fs::path(left.substr(0, colon)) / name;
    if (colon > 0 && access(program.c_str(), X_OK) == 0 && !fs::is_directory(program, error))
      return program.string();
    left.remove_prefix(std::min(colon + 1, left.size()));
  }
  return {};
}

std::string first_key_of(const std::string& path) {
  std::ifstream file(path);
  for (std::string line; std::getline(file, line);) {
    while (!line.empty() && (line.back() == '\r' || line.back() == ' ')) line.pop_back();
    if (!line.empty() && line.front() != '#') return line;
  }
  return {};
}

std::string random_key() {
  std::random_device device;
  std::string key;
  for (int i = 0; i < 8; ++i) {
    char piece[9];
    std::snprintf(piece, sizeof piece, "%08x", device());
    key += piece;
  }
  return key;
}

int complain(const std::string& what) {
  std::fprintf(stderr, "error: %s\n", what.c_str());
  return 1;
}

int up(UpOptions options) {
  UpWorld world;
  for (auto [name, path] :
       {std::pair("sluice-serve", &world.serve_program), std::pair("sluice-route", &world.route_program)}) {
    *path = find_program(name);
    if (path->empty()) return complain(std::string(name) + " is neither beside sluice-up nor on the PATH.");
  }
  if (options.key.empty() && !options.key_file.empty()) options.key = first_key_of(options.key_file);
  if (const char* key = from_environment("SLUICE_API_KEY"); key != nullptr && options.key.empty())
    options.key = key;
  world.replica_key = random_key();
  if (const char* gpus = std::getenv("CUDA_VISIBLE_DEVICES")) {
    world.names_gpus = true;
    world.machine_gpus = gpus;
  }
  world.screen.is_terminal = isatty(STDERR_FILENO) == 1;
  world.screen.has_colour = world.screen.is_terminal && from_environment("NO_COLOR") == nullptr;

  const char* temporary = from_environment("TMPDIR");
  world.folder = std::string(temporary == nullptr ? "/tmp" : temporary) + "/sluice-up.XXXXXX";
  if (mkdtemp(world.folder.data()) == nullptr)
    return complain("Cannot make a folder like " + world.folder + ".");

  signal(SIGPIPE, SIG_IGN);
  sigemptyset(&world.signals);
  for (const int each : {SIGINT, SIGTERM, SIGHUP, SIGCHLD}) sigaddset(&world.signals, each);
  pthread_sigmask(SIG_BLOCK, &world.signals, nullptr);
  const int code = run_up(options, world);
  std::error_code error;
  fs::remove_all(world.folder, error);
  return code;
}

}  // namespace
}  // namespace sluice::up

int main(int argc, char** argv) {
  using namespace sluice::up;
  ParsedUpOptions parsed = parse_up_options({argv + std::min(argc, 1), argv + argc});
  if (!parsed.options) {
    std::fputs(parsed.text.c_str(), parsed.exit_code == 0 ? stdout : stderr);
    return parsed.exit_code;
  }
  return up(std::move(*parsed.options));
}
