#include "deploy/up/child.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

namespace sluice::up {
namespace {

// The environment of the child, "NAME=value".
std::vector<std::string> environment_of(const Command& command) {
  std::vector<std::string> all;
  for (char** entry = environ; *entry != nullptr; ++entry) {
    const std::string_view text = *entry;
    const std::string name(text.substr(0, text.find('=')));
    if (command.environment.contains(name) || std::ranges::count(command.without, name) > 0) continue;
    all.emplace_back(text);
  }
  for (const auto& [name, value] : command.environment) all.push_back(name + "=" + value);
  return all;
}

std::vector<char*> pointers(std::vector<std::string>& texts) {
  std::vector<char*> all;
  for (std::string& text : texts) all.push_back(text.data());
  all.push_back(nullptr);
  return all;
}

// In the child, between fork and exec: nothing but system calls.
[[noreturn]] void become(const char* program, char** arguments, char** environment, int output,
                         pid_t parent) {
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (getppid() != parent) _exit(127);  // it ended meanwhile, and nobody will tell us
  setpgid(0, 0);
  sigset_t none;
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, nullptr);
  signal(SIGPIPE, SIG_DFL);
  const int input = open("/dev/null", O_RDONLY);
  if (input >= 0) dup2(input, STDIN_FILENO);
  dup2(output, STDOUT_FILENO);
  dup2(output, STDERR_FILENO);
  execve(program, arguments, environment);
  const char* why = strerrordesc_np(errno);  // which does not allocate
  const char* pieces[] = {"cannot start ", program, ": ", why, "\n"};
  for (const char* piece : pieces) {
    if (write(STDERR_FILENO, piece, std::strlen(piece)) < 0) break;
  }
  _exit(127);
}

}  // namespace

Result<Child> Child::start(const Command& command) {
  std::vector<std::string> words = {command.program};
  words.insert(words.end(), command.arguments.begin(), command.arguments.end());
  std::vector<std::string> environment = environment_of(command);
  const std::vector<char*> argv = pointers(words), envp = pointers(environment);
  int pipe_ends[2];
  const auto fault = [&](const char* what) {
    return Error{ErrorCode::kIo,
                 fmt::format("Cannot start {}: {}: {}.", command.program, what, std::strerror(errno))};
  };
  if (pipe2(pipe_ends, O_CLOEXEC) != 0) return fault("pipe");
  const pid_t parent = getpid();
  const pid_t pid = fork();
  if (pid == 0)
    become(words[0].c_str(), const_cast<char**>(argv.data()), const_cast<char**>(envp.data()), pipe_ends[1],
           parent);
  close(pipe_ends[1]);
  if (pid < 0) {
    close(pipe_ends[0]);
    return fault("fork");
  }
  fcntl(pipe_ends[0], F_SETFL, O_NONBLOCK);
  return Child(pid, pipe_ends[0]);
}

Child::Child(Child&& other) noexcept {
  *this = std::move(other);
}

Child& Child::operator=(Child&& other) noexcept {
  std::swap(pid_, other.pid_);
  std::swap(output_, other.output_);
  std::swap(status_, other.status_);
  std::swap(ended_, other.ended_);
  std::swap(partial_, other.partial_);
  std::swap(last_lines_, other.last_lines_);
  return *this;
}

Child::~Child() {
  if (pid_ > 0 && !ended_) {
    ::kill(pid_, SIGKILL);
    while (waitpid(pid_, &status_, 0) < 0 && errno == EINTR) {
    }
  }
  if (output_ >= 0) close(output_);
}

void Child::send(int signal) {
  if (pid_ > 0 && !ended_) ::kill(pid_, signal);
}

void Child::tell(std::string_view text, const std::function<void(std::string_view)>& line) {
  while (text.ends_with('\r')) text.remove_suffix(1);
  last_lines_.emplace_back(text);
  if (last_lines_.size() > kLastLines) last_lines_.pop_front();
  line(text);
}

void Child::read_lines(const std::function<void(std::string_view)>& line) {
  char bytes[16384];
  while (output_ >= 0) {
    const ssize_t count = read(output_, bytes, sizeof bytes);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0 && errno == EAGAIN) return;
    if (count <= 0) {
      close(std::exchange(output_, -1));
      break;
    }
    partial_.append(bytes, static_cast<size_t>(count));
    size_t begin = 0;
    for (size_t end; (end = partial_.find('\n', begin)) != std::string::npos; begin = end + 1) {
      tell(std::string_view(partial_).substr(begin, end - begin), line);
    }
    partial_.erase(0, begin);
    if (partial_.size() > kMaxLine) tell(std::exchange(partial_, {}), line);
  }
  if (output_ < 0 && !partial_.empty()) tell(std::exchange(partial_, {}), line);
}

bool Child::has_ended() {
  if (!ended_ && pid_ > 0 && waitpid(pid_, &status_, WNOHANG) == pid_) ended_ = true;
  return ended_;
}

std::string Child::fate() const {
  if (WIFSIGNALED(status_)) {
    return fmt::format("was ended by signal {} ({})", WTERMSIG(status_), strsignal(WTERMSIG(status_)));
  }
  return fmt::format("ended with status {}", WEXITSTATUS(status_));
}

}  // namespace sluice::up
