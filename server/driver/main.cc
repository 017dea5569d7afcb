// Knows no verb's flags and links nothing of theirs.
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "server/version.h"

namespace {

namespace fs = std::filesystem;

constexpr std::string_view kPrefix = "sluice-";

struct Verb {
  const char* name;
  const char* about;
};
constexpr Verb kKnown[] = {
    {"serve", "serve a model through the OpenAI API"},
    {"route", "spread requests over many servers"},
    {"up", "serve on this machine by as many replicas as the load asks for"},
    {"bench", "measure a server under load"},
    {"bench-serve", "load a server and tell how it fares"},
    {"bench-compare", "tell what changed between two runs of bench serve"},
    {"bench-engine", "measure the engine without HTTP"},
    {"bench-kernels", "measure each operation of the device"},
    {"bench-router-sim", "compare routing policies in virtual time"},
    {"bench-autoscale", "compare autoscaling signals in virtual time"},
    {"deploy", "run servers on Kubernetes"},
};

std::vector<fs::path> search_folders() {
  std::vector<fs::path> folders;
  std::error_code error;
  const fs::path self = fs::read_symlink("/proc/self/exe", error);
  if (!error) folders.push_back(self.parent_path());
  const char* variable = std::getenv("PATH");
  std::string_view path = variable == nullptr ? "" : variable;
  while (!path.empty()) {
    const size_t colon = path.find(':');
    if (colon > 0) folders.emplace_back(path.substr(0, colon));
    path = colon == std::string_view::npos ? std::string_view() : path.substr(colon + 1);
  }
  return folders;
}

std::string find_program(const std::string& verb) {
  for (const fs::path& folder : search_folders()) {
    const std::string program = (folder / (std::string(kPrefix) + verb)).string();
    if (access(program.c_str(), X_OK) == 0 && !fs::is_directory(program)) return program;
  }
  return "";
}

std::set<std::string> installed_verbs() {
  std::set<std::string> verbs;
  for (const fs::path& folder : search_folders()) {
    std::error_code error;
    for (fs::directory_iterator it(folder, error), end; !error && it != end; it.increment(error)) {
      const std::string name = it->path().filename().string();
      const bool ours =
          name.size() > kPrefix.size() && name.starts_with(kPrefix) && name.find('.') == std::string::npos;
      if (ours && access(it->path().c_str(), X_OK) == 0 && !it->is_directory(error))
        verbs.insert(name.substr(kPrefix.size()));
    }
  }
  return verbs;
}

void print_help(std::FILE* out) {
  std::fputs(
      "usage: sluice VERB [ARGUMENTS …]\n       sluice VERB --help\n       sluice version\n\nSluice runs "
      "language models "
      "behind the OpenAI API.\n\nVerbs installed here:\n",
      out);
  for (const std::string& verb : installed_verbs()) {
    const auto* known =
        std::find_if(std::begin(kKnown), std::end(kKnown), [&](const Verb& k) { return verb == k.name; });
    std::fprintf(out, "  %-16s %s\n", verb.c_str(), known == std::end(kKnown) ? "" : known->about);
  }
  std::fputs(
      "  version          print the release\n\n`sluice VERB` runs the program sluice-VERB, found beside "
      "this one or on the PATH.\nExample: sluice serve ./model.gguf --port 8000\n",
      out);
}

bool is_verb(std::string_view text) {
  return !text.empty() &&
         std::all_of(text.begin(), text.end(), [](char c) { return (c >= 'a' && c <= 'z') || c == '-'; }) &&
         text.front() != '-';
}

}  // namespace

int main(int argc, char** argv) {
  const std::string verb = argc > 1 ? argv[1] : "";
  if (verb == "--help" || verb == "-h" || verb == "help") {
    print_help(stdout);
    return 0;
  }
  if (verb == "version" || verb == "--version") {
    std::printf("sluice %s\n", sluice::kVersion);
    return 0;
  }
  if (verb.empty()) {
    print_help(stderr);
    return 2;
  }
  // `sluice bench router-sim` is sluice-bench-router-sim, if there is such a program.
  if (argc > 2 && is_verb(verb) && is_verb(argv[2])) {
    if (const std::string program = find_program(verb + "-" + argv[2]); !program.empty()) {
      execv(program.c_str(), argv + 2);
      std::perror(("sluice: " + program).c_str());
      return 126;
    }
  }
  const std::string program = is_verb(verb) ? find_program(verb) : "";
  if (program.empty()) {
    std::fprintf(stderr, "sluice: there is no verb '%.40s'; `sluice --help` lists those installed.\n",
                 verb.c_str());
    return 2;
  }
  execv(program.c_str(), argv + 1);
  std::perror(("sluice: " + program).c_str());
  return 126;
}
